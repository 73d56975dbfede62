"""Handshake times as a classic histogram: few fixed edges, among them those at which the SYN-ACK's timer runs out."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.sample.handshakes import FIRST_OCTAVE, PARTS, TIMERS_S

# From 0.128 ms to half a second: whole octaves of the kernel's buckets.
_OCTAVES: Final = range(7, 20)
LE_S: Final = (*(2**octave * 1e-6 for octave in _OCTAVES), *map(float, TIMERS_S))
"""The upper edges, in seconds. One of a bucket's exact edge counts as longer, as the kernel's programs count it."""


class HandshakeTimes(Struct, frozen=True):
    """below: how many took less than each of LE_S; count: all that are timed; sum_s: of their times."""

    below: tuple[int, ...] = (0,) * len(LE_S)
    count: int = 0
    sum_s: float = 0.0

    def __add__(self, other: HandshakeTimes) -> HandshakeTimes:
        below = tuple(one + more for one, more in zip(self.below, other.below, strict=True))
        return HandshakeTimes(below, self.count + other.count, self.sum_s + other.sum_s)


def handshake_times(counters: NDArray[Any]) -> HandshakeTimes:
    """The times of K keys together, from their counters (K,) HANDSHAKE_COUNTERS."""
    times = counters["times"].sum(axis=0)
    reached = np.cumsum(times)
    count = int(reached[-1])
    octaves = [int(reached[(octave - FIRST_OCTAVE) * PARTS]) for octave in _OCTAVES]
    longer = counters["later"].sum(axis=0)
    below = (*octaves, *(count - int(n) for n in longer))
    return HandshakeTimes(below, count, float(counters["sum_us"].sum()) * 1e-6)
