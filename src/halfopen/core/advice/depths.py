"""How full the queues of a listener were while somebody looked: from readings of their depths, some a second."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from halfopen.core.model import timing

# A rise that chance brings about is not taken for a trend.
_CHANCE = 3.0
_LEAST_READINGS = 8


class Depth(Struct, frozen=True):
    """One reading of a listener, the members of a SO_REUSEPORT group together. syn_queue, young: None: not readable.

    nearly_full: whether the accept queue of one of its sockets is.
    """

    at_s: float
    syn_queue: int | None
    young: int | None
    accept_queue: int
    nearly_full: bool = False


class QueueSeen(Struct, frozen=True):
    """A queue over a time: readings, its mean and highest length, the last one, and by how much a second it grows; 0
    where it does not grow more than chance explains.
    """

    readings: int = 0
    mean: float = 0.0
    peak: int = 0
    last: int = 0
    growth_per_s: float = 0.0


def seen(lengths: Sequence[tuple[float, int]]) -> QueueSeen:
    """Readings (seconds, length) of one queue summed up; the growth is the slope of the line with the least squares."""
    if not lengths:
        return QueueSeen()
    values = [length for _, length in lengths]
    mean = sum(values) / len(values)
    return QueueSeen(len(values), mean, max(values), values[-1], _growth(lengths, mean))


def _growth(lengths: Sequence[tuple[float, int]], mean: float) -> float:
    if len(lengths) < _LEAST_READINGS:
        return 0.0
    middle = sum(at for at, _ in lengths) / len(lengths)
    spread = sum((at - middle) ** 2 for at, _ in lengths)
    if spread == 0:
        return 0.0
    slope = sum((at - middle) * (length - mean) for at, length in lengths) / spread
    rise = slope * (lengths[-1][0] - lengths[0][0])
    return slope if rise > _CHANCE * math.sqrt(mean + 1) else 0.0


def stays_full(depths: Sequence[Depth]) -> bool:
    """Whether an accept queue was nearly full at most readings: no burst, but a program that does not keep up."""
    return len(depths) >= _LEAST_READINGS and sum(depth.nearly_full for depth in depths) * 2 > len(depths)


def lowest(depths: Sequence[Depth]) -> int:
    """The shortest that the accept queue was; 0 where it was not read often enough."""
    return min(depth.accept_queue for depth in depths) if len(depths) >= _LEAST_READINGS else 0


def fewest_retries(depths: Sequence[Depth], retries: int, limit: int, members: int) -> tuple[int, float]:
    """The fewest retries that the kernel gave in these readings, and for how many seconds it gave fewer than `retries`.

    A queue more than half full is pruned (`timing.effective_retries`). limit: of the whole group.
    """
    fewest, pruned_s = retries, 0.0
    for i, depth in enumerate(depths):
        if depth.syn_queue is None or depth.young is None:
            continue
        each = max(members, 1)
        now = timing.effective_retries(retries, depth.syn_queue // each, depth.young // each, limit // each)
        if now < retries:
            fewest = min(fewest, now)
            until = depths[i + 1].at_s if i + 1 < len(depths) else depth.at_s
            pruned_s += until - depth.at_s
    return fewest, pruned_s
