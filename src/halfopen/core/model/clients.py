"""Sources that are known to be clients, because they finished handshakes: a flood from forged addresses has none."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.model.arrived import are_in
from halfopen.core.model.distinct import distinct
from halfopen.core.model.sources import addresses
from halfopen.core.sample.peers import Peers


def source_numbers(requests: NDArray[Any]) -> NDArray[np.uint64]:
    """The sources of N requests (dtype REQUEST): an IPv4 address, or the first 64 bits of an IPv6 address; (N,)."""
    v4, is_v4, high = addresses(requests)
    numbers = v4.astype(np.uint64)
    numbers[~is_v4] = high
    return numbers


class KnownClients(Struct, frozen=True, eq=False):
    """The clients of one namespace, read at at_s (monotonic).

    established (E,): sources of connections that are established; finished (F,): of handshakes that were counted while
    somebody looked; both as numbers, each once and in order. lately: addresses that the kernel remembers because a
    connection of theirs ended in good order, and how long before at_s.
    """

    at_s: float
    established: NDArray[np.uint64]
    lately: Peers
    finished: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))

    def hold(self, requests: NDArray[Any], within_s: float) -> NDArray[np.bool_]:
        """Which of N requests (dtype REQUEST) come from clients, by what they did in the last within_s; (N,)."""
        numbers = source_numbers(requests)
        rows = self.lately.rows
        recent = distinct(rows["number"][rows["age_s"] <= within_s]).astype(np.uint64)
        found = are_in(numbers, recent) | are_in(numbers, self.established)
        return found | are_in(numbers, self.finished)

    def with_finished(self, numbers: NDArray[np.uint64]) -> KnownClients:
        """With further sources (n,), as numbers of addresses, whose handshakes were counted."""
        return KnownClients(
            self.at_s, self.established, self.lately, distinct(np.concatenate((self.finished, numbers)))
        )
