"""The answers of the page that come from history, made in a thread of their own. Loaded when a page asks for one, as
the face needs these imports for nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from halfopen.core.errors import UnknownTarget, UsageError
from halfopen.core.history import HistoryAnswer, lost
from halfopen.core.policy.incidents import Incident
from halfopen.core.timeline import timeline
from halfopen.ops.history import releases_of, told
from halfopen.present.web import kept
from halfopen.store.database import HistoryPlace
from halfopen.store.reader import History, HistoryWanted

SPANS: Final = {"hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
"""The lengths of time lines, s."""
_PARTS: Final = 360
_AROUND_LEAST_S: Final = 60.0
_AROUND: Final = 0.5


def time_line(file: str, query: Mapping[str, str], language: str) -> bytes:
    """A time line. In the query, span: one of SPANS; netns: the inode of a namespace, without it all. Raises:
    UsageError, as `History`.
    """
    span, netns = query.get("span", "hour"), query.get("netns") or None
    if span not in SPANS:
        raise UsageError(f"span is one of {', '.join(SPANS)}")
    if netns is not None and not netns.isdecimal():
        raise UsageError("netns is the inode of a network namespace")
    now_s = time.time()
    wanted = HistoryWanted(now_s - SPANS[span], now_s, netns)
    with History(_place(file)) as history:
        answer = told(history, wanted, now_s, listeners=False)
    return msgspec.json.encode(kept.timeline(answer, timeline(answer, _PARTS), language))


def incident(file: str, query: Mapping[str, str], language: str) -> bytes:
    """An incident. In the query, id: its id or an unambiguous part of it. Raises: UsageError, UnknownTarget,
    as `History`.
    """
    now_s = time.time()
    with History(_place(file)) as history:
        one = history.incident(query.get("id", ""))
        answer = told(history, _around(one, now_s), now_s, "listener" if one.at is not None else "")
        releases = releases_of(history, one)
    answer = replace(answer, spans=tuple(span for span in answer.spans if span.where == one.where))
    return msgspec.json.encode(kept.incident(one, releases, _of(one, answer), timeline(answer, _PARTS), language))


def _around(one: Incident, now_s: float) -> HistoryWanted:
    """The time around an incident, up to now, and its place."""
    going = one.ended_s is None and not lost(one, now_s)
    until_s = now_s if going else (one.ended_s or one.began_s + one.lasted_s)
    around_s = max(_AROUND_LEAST_S, _AROUND * (until_s - one.began_s))
    place = () if one.at is None else ((one.at[1], one.at[2]),)
    return HistoryWanted(
        one.began_s - around_s, min(now_s, until_s + around_s), str(one.where.inode) if one.where.inode else None, place
    )


def _of(one: Incident, answer: HistoryAnswer) -> HistoryAnswer:
    """The answer with only the settings that changed during the incident."""
    until_s = one.began_s + one.lasted_s
    return replace(answer, settings=tuple(s for s in answer.settings if one.began_s <= s.at_s <= until_s))


def _place(file: str) -> HistoryPlace:
    if not file:
        raise UnknownTarget("the service keeps no history", hint='[history] path = "DIR" in its configuration keeps it')
    return HistoryPlace.of(file)
