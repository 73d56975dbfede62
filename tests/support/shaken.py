"""Handshakes made up for tests."""

from __future__ import annotations

import numpy as np

from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.histogram import Histogram
from halfopen.core.sample.handshakes import BUCKETS, RETRANSMITS, edges_s


def bucket_of(seconds: float) -> int:
    """The bucket a time falls into, as the eBPF program has it."""
    return int(np.searchsorted(edges_s(), seconds, side="right")) - 1


def handshakes(*kinds: tuple[int, int, float], untimed: int = 0, seconds: float = 60.0) -> Handshakes:
    """kinds: how many handshakes, after how many retransmits, in how many seconds."""
    by, counts, total = np.zeros(RETRANSMITS, dtype=np.int64), np.zeros(BUCKETS, dtype=np.int64), 0.0
    for n, again, took_s in kinds:
        by[again] += n
        counts[bucket_of(took_s)] += n
        total += n * took_s
    by[0] += untimed
    none = Histogram(np.zeros(BUCKETS, dtype=np.int64))
    longest = max((took_s for *_, took_s in kinds), default=0.0)
    return Handshakes(seconds, by, Histogram(counts, total, longest), none, int(by.sum()), untimed, 0, 0, None, None)
