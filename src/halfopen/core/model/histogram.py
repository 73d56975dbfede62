"""Histograms of handshake times, in the buckets of the eBPF programs."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.sample.handshakes import edges_s


class Histogram(Struct, frozen=True, eq=False):
    """Times of handshakes: counts (BUCKETS,) by bucket, their sum, and the longest, in s."""

    counts: NDArray[np.int64]
    sum_s: float = 0.0
    max_s: float = 0.0

    @property
    def total(self) -> int:
        """How many."""
        return int(self.counts.sum())

    @property
    def mean_s(self) -> float:
        """The mean; 0 without any."""
        return self.sum_s / self.total if self.total else 0.0

    def quantile_s(self, q: float) -> float:
        """The time within which a share `q` (0 to 1) of them finished, evenly spread within a bucket; 0 without any."""
        reached = np.cumsum(self.counts)
        total = int(reached[-1])
        if not total:
            return 0.0
        rank = min(max(q, 0.0), 1.0) * total
        at = int(np.searchsorted(reached, max(rank, 1e-9)))
        edges = edges_s()
        low, high = float(edges[at]), min(float(edges[at + 1]), max(self.max_s, float(edges[at])))
        inside = (rank - float(reached[at] - self.counts[at])) / float(self.counts[at])
        return low + (high - low) * inside

    def above(self, seconds: float) -> int:
        """How many are in buckets that begin at `seconds` or later."""
        return int(self.counts[edges_s()[:-1] >= seconds].sum())

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts, self.sum_s + other.sum_s, max(self.max_s, other.max_s))
