"""The room that a listener's queues need, and when they would be full (Little 1961: length = rate x time)."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

from halfopen.core.advice.depths import QueueSeen

# Twice what was needed.
HEADROOM: Final = 2.0
# Standard deviations of a length that arrivals by chance bring about: once in 740 moments it is longer.
_SIGMAS: Final = 3.0
LEAST: Final = 16
# No backlog is proposed beyond it: what no such queue holds is a flood's, which SYN cookies answer.
MOST: Final = 65_536


class Room(Struct, frozen=True):
    """One queue of a listener. length: on average, by Little's law. needed: with bursts and headroom. limit: what it
    takes; None: not known. full_in_s: when it is full at the present growth, 0 where it is; None: not at this one.
    levels_off: the length at which it stays, where it grows and stays below its limit. mean: as it was read;
    None: it was not.
    """

    length: float
    peak: int
    needed: int
    limit: int | None
    full_in_s: float | None = None
    levels_off: int | None = None
    mean: float | None = None

    @property
    def enough(self) -> bool:
        """Whether the queue may hold what is needed."""
        return self.limit is None or self.needed <= self.limit

    @property
    def unexplained(self) -> bool:
        """Whether far more wait, on average, than the length accounts for: they began before, or are answered."""
        return self.mean is not None and self.mean > HEADROOM * self.length + 1


def needed(length: float, peak: int) -> int:
    """Room for a queue of this average length whose highest was `peak`."""
    return math.ceil(HEADROOM * max(float(peak), length + _SIGMAS * math.sqrt(length)))


def syn_queue(honest: float, silent: float, silent_then: float, seen: QueueSeen, limit: int | None) -> Room:
    """honest: handshakes under way on average; silent: connections that nobody answers, once their number has settled
    (their rate x the release time), silent_then: of these, as many as need room with the release time that is advised.
    """
    length = honest + silent
    full, levels = _full_in_s(seen, limit), None
    if full and length < (limit or 0):
        full, levels = None, max(math.ceil(length), seen.last)
    # Where those that nobody answers made the highest length, it says nothing about clients: also where they are too
    # old to be counted, and far more wait than handshakes that finish account for.
    clients = silent <= honest and seen.mean <= HEADROOM * honest + 1
    peak = seen.peak if clients else 0
    mean = seen.mean if seen.readings else None
    return Room(length, seen.peak, needed(honest + silent_then, peak), limit, full, levels, mean)


def _full_in_s(seen: QueueSeen, limit: int | None) -> float | None:
    """0 where it is full; None where it does not grow."""
    if limit is None or not seen.readings:
        return None
    if seen.last >= limit:
        return 0.0
    return (limit - seen.last) / seen.growth_per_s if seen.growth_per_s > 0 else None


def accept_queue(seen: QueueSeen, limit: int | None) -> Room:
    """Connections leave it only when the program accepts: one that grows ends full."""
    full = _full_in_s(seen, limit)
    return Room(seen.mean, seen.peak, needed(seen.mean, seen.peak), limit, full)


def wait_s(seen: QueueSeen, finished_per_s: float) -> float | None:
    """How long a connection waits to be accepted, on average; None where none came."""
    return seen.mean / finished_per_s if finished_per_s > 0 else None


def backlog(needed_each: int) -> int:
    """The backlog to set for so much room: a power of two, from 16 to 65,536."""
    return min(MOST, max(LEAST, 1 << max(needed_each - 1, 1).bit_length()))
