"""Times and durations of a document, which is read on another day and elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import reduce

from halfopen.present.findings.words import lasted
from halfopen.present.language import tr


def moment(wall_s: float) -> str:
    """`2026-11-26 02:55:15`."""
    return f"{datetime.fromtimestamp(wall_s):%Y-%m-%d %H:%M:%S}"


def clock(wall_s: float, among: tuple[float, float]) -> str:
    """The time of day, with the day where the whole is not of one day."""
    first, last = (datetime.fromtimestamp(one).date() for one in among)
    return f"{datetime.fromtimestamp(wall_s):%H:%M:%S}" if first == last else moment(wall_s)


def stretch(since_s: float, until_s: float) -> str:
    """`2026-11-26 02:55:15 to 02:55:44`."""
    return tr("{since} to {until}", since=moment(since_s), until=clock(until_s, (since_s, until_s)))


def zone(wall_s: float) -> str:
    """`CET (UTC+01:00)`, of the clock here at that time."""
    there = datetime.fromtimestamp(wall_s).astimezone()
    offset = there.utcoffset() or timedelta(0)
    sign = "-" if offset < timedelta(0) else "+"
    minutes = abs(offset) // timedelta(minutes=1)
    shift = f"UTC{sign}{minutes // 60:02}:{minutes % 60:02}" if offset else "UTC"
    name = there.tzname() or ""
    return shift if name in (shift, "UTC") or name[:1] in "+-" else f"{name} ({shift})"


def argument(wall_s: float) -> str:
    """A whole second as --since and --until take it, whatever the clock is where it is read."""
    return datetime.fromtimestamp(math.floor(wall_s)).astimezone().isoformat()


def sentences(parts: Iterable[str]) -> str:
    """Whole sentences, one behind the other."""
    return reduce(lambda text, more: tr("{text} {more}", text=text, more=more), filter(None, parts))


def long(seconds: float) -> str:
    """A duration in words."""
    return lasted(max(0, round(seconds)))
