"""What history kept of namespaces, laid over equal parts of a time: what a chart draws. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

from msgspec import Struct

from halfopen.core.history import HistoryAnswer, Slot, WatchedSpan
from halfopen.core.where import Namespace

# Values are kept so long after they were read.
_LATE_S: Final = 2.0
# Readings are spaced out to ten seconds at most; until the next one, a value is as it was.
_SPACED_S: Final = 15

MOST: Final = ("half_open", "accept_queue")
"""Depths: of several namespaces, and of the readings in a part, the most counts."""
RATES: Final = ("drops", "cookies", "finished")
"""Events: they are counted, and told a second."""


class Timeline(Struct, frozen=True):
    """since_s: when the first part begins (since 1970); each_s: how long one is. values: by magnitude, one for each
    part, None where nothing was watched: the most of MOST, a second of RATES.
    """

    since_s: float
    each_s: float
    values: dict[str, tuple[float | None, ...]]


def timeline(told: HistoryAnswer, parts: int) -> Timeline:
    """The values of a time in at most that many parts, none shorter than the slots that history has; the sum of all
    namespaces in the answer, or, where it was narrowed to listeners, of these.
    """
    each_s = max((told.until_s - told.since_s) / parts, float(told.step_s))
    count = max(1, round((told.until_s - told.since_s) / each_s))
    since_s = told.until_s - count * each_s
    narrow = bool(told.narrowed)
    kept = [one for one in told.series if (one.listener is not None) == narrow]
    seen = _watched(told.spans, since_s, each_s, count)
    ends_s = {where: max(s.ended_s for s in told.spans if s.where == where) for where in {s.where for s in told.spans}}
    # What happened in the last parts may not be kept yet, and would look like nothing.
    kept_s = told.now_s - _LATE_S
    is_kept = [there and since_s + i * each_s < kept_s for i, there in enumerate(seen)]
    values: dict[str, tuple[float | None, ...]] = {}
    for name in (*MOST, *RATES):
        mine = [(one.slots, ends_s.get(one.where, 0.0)) for one in kept if one.magnitude == name]
        values[name] = _most(mine, since_s, each_s, seen) if name in MOST else _rates(mine, since_s, each_s, is_kept)
    return Timeline(since_s, each_s, values)


def _watched(spans: Iterable[WatchedSpan], since_s: float, each_s: float, count: int) -> list[bool]:
    seen = [False] * count
    for span in spans:
        first, last = int((span.began_s - since_s) // each_s), int((span.ended_s - since_s) // each_s)
        for i in range(max(0, first), min(count - 1, last) + 1):
            seen[i] = True
    return seen


# The slots of a series, and until when its namespace was watched.
_Kept = tuple[Sequence[Slot], float]


def _most(series: Iterable[_Kept], since_s: float, each_s: float, seen: list[bool]) -> tuple[float | None, ...]:
    total = [0.0] * len(seen)
    known = list(seen)
    for slots, ended_s in series:
        mine = [0] * len(seen)
        for slot, after in zip_longest(slots, slots[1:]):
            # A slot that is longer than a part is seen in each of them, the last value until the next reading.
            first, end = int((slot.at_s - since_s) // each_s), (slot.at_s + slot.step_s - since_s) / each_s
            for i in range(max(0, first), min(len(seen), max(first + 1, int(end)))):
                mine[i] = max(mine[i], slot.max)
                known[i] = True
            # A 0 behind a value is kept: at the end of what is watched a value is still as it was.
            next_s = ended_s if after is None else after.at_s
            if slot.last and next_s - slot.at_s <= max(_SPACED_S, slot.step_s):
                for i in range(max(0, int(end)), min(len(seen), int((next_s - since_s) // each_s) + (after is None))):
                    mine[i] = max(mine[i], slot.last)
        total = [a + b for a, b in zip(total, mine, strict=True)]
    return tuple(value if there else None for value, there in zip(total, known, strict=True))


def _rates(series: Iterable[_Kept], since_s: float, each_s: float, seen: list[bool]) -> tuple[float | None, ...]:
    total = [0.0] * len(seen)
    known = list(seen)
    for slots, _ in series:
        for slot in slots:
            i = int((slot.at_s - since_s) // each_s)
            if 0 <= i < len(seen):
                total[i] += slot.sum / each_s
                known[i] = True
    return tuple(round(v, 2) if there else None for v, there in zip(total, known, strict=True))


def namespaces(told: HistoryAnswer) -> dict[int, Namespace]:
    """The namespaces of an answer by their inodes, the latest of each."""
    found = {span.where.inode: span.where for span in told.spans}
    found |= {one.where.inode: one.where for one in (*told.incidents, *told.rises)}
    return found
