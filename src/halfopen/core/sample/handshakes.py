"""Handshakes that finished: the kernel's counters, as the eBPF programs keep them (bpf/handshakes.bpf.c)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

# bpf/events.h: bucket 0 is below 16 us, then four equal parts of each octave, the last is from 2^27 us on.
FIRST_OCTAVE: Final = 4
OCTAVES: Final = 23
PARTS: Final = 4
BUCKETS: Final = OCTAVES * PARTS + 2
# When the timer of the SYN-ACK runs out, in s; those that took this long or longer are counted besides.
TIMERS_S: Final = (1, 3, 7, 15, 31, 63)
# Finished after 0, 1 … SYN-ACK retransmissions; the last one: or more.
RETRANSMITS: Final = 8


def edges_s() -> NDArray[np.float64]:
    """Where the buckets begin and end, in s: (BUCKETS + 1,), the first 0 and the last infinity."""
    octaves = 2.0 ** np.arange(FIRST_OCTAVE, FIRST_OCTAVE + OCTAVES)
    inner = (octaves[:, None] * (1 + np.arange(PARTS) / PARTS)).ravel() * 1e-6
    return np.concatenate(([0.0], inner, [2.0 ** (FIRST_OCTAVE + OCTAVES) * 1e-6, np.inf]))


class HandshakeCounters(Struct, frozen=True, eq=False):
    """The counters at one moment, or what came between two. Only differences mean anything: counting began when the
    programs were attached.

    monotonic_s: when; of a difference, the end. seconds: how long they counted. keys: (K,) with the fields of
    `wire.bpf_records.HANDSHAKE_KEY`, counters: (K,) HANDSHAKE_COUNTERS. unfit: events of keys for which there was no
    room. arrivals, given_up: whether these were counted.
    """

    monotonic_s: float
    seconds: float
    keys: NDArray[Any]
    counters: NDArray[Any]
    unfit: int = 0
    arrivals: bool = True
    given_up: bool = True
