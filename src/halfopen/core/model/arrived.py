"""Arrivals between two looks, and how many of their handshakes finished: by listener, and by source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.model import join
from halfopen.core.model.keyed import requests_of
from halfopen.core.model.prefixes import Numbers, Prefix
from halfopen.core.sample import Sample
from halfopen.core.sample.arrivals import SOURCE, Arrivals
from halfopen.core.sample.peers import PEER, Peers


class ArrivedFlow(Struct, frozen=True):
    """Packets for one listener, or for all, and its handshakes that finished, in `seconds`; fields as in `SOURCE`.
    no_timestamps: finished handshakes without TCP timestamps.

    If packets were not counted, the four counts of packets are 0.
    """

    seconds: float
    syns: int = 0
    repeats: int = 0
    acks: int = 0
    resets: int = 0
    finished: int = 0
    late: int = 0
    no_timestamps: int = 0

    def per_s(self, count: int) -> float:
        """One of its counts as a rate."""
        return count / self.seconds if self.seconds > 0 else 0.0


class Arrived(Struct, frozen=True, eq=False):
    """The counts of the programs between two looks: in all, and by listener in the order of the Model's `views`.

    sources: (S,) SOURCE, one row for each source and port. packets: whether packets were counted, or only finished
    handshakes. whole: no source is missing from the rows.
    """

    all: ArrivedFlow
    by_view: tuple[ArrivedFlow, ...]
    sources: NDArray[Any]
    packets: bool = True
    whole: bool = True


def arrived_of(sample: Sample, groups: Sequence[join.Group]) -> Arrived | None:
    """The arrivals that a Sample has, joined to its listeners as the kernel joins; None where nothing was counted."""
    part = sample.part(Arrivals)
    if part is None:
        return None
    group_of = join.assign(requests_of(part.keys), list(groups))
    flows = tuple(_flow(part, group_of == i) for i in range(len(groups)))
    whole = not part.crowded and not part.unfit
    return Arrived(_flow(part, np.ones(len(part.keys), dtype=bool)), flows, _merged(part.sources), part.packets, whole)


def _flow(part: Arrivals, rows: NDArray[np.bool_]) -> ArrivedFlow:
    """The sum of the counters of some listeners. rows: a mask over `part.counters`, (L,)."""
    mine = part.counters[rows]
    return ArrivedFlow(part.seconds, **{name: int(mine[name].sum()) for name in mine.dtype.names or ()})


def _merged(rows: NDArray[Any]) -> NDArray[Any]:
    """One row for each source and port of rows (N,) SOURCE, (K,), with the sums of their counts."""
    if not len(rows):
        return rows
    order = np.lexsort((rows["port"], rows["number"]))
    rows = rows[order]
    fresh = np.concatenate(
        ([True], (rows["number"][1:] != rows["number"][:-1]) | (rows["port"][1:] != rows["port"][:-1]))
    )
    first = np.flatnonzero(fresh)
    merged = rows[first].copy()
    for name in SOURCE.names or ():
        if name not in ("is_v4", "number", "port"):
            merged[name] = np.add.reduceat(rows[name], first)
    return merged


_NEARLY_ALL: Final = 0.9
# `np.isin` would sort all the numbers, which may be a million.
_STRETCH: Final = 65_536


def are_in(numbers: Numbers, known: Numbers) -> NDArray[np.bool_]:
    """Which of N sources are among the known ones, (N,)."""
    found = np.zeros(len(numbers), dtype=bool)
    if not len(known):
        return found
    ordered = np.sort(known)
    for start in range(0, len(numbers), _STRETCH):
        some = numbers[start : start + _STRETCH].astype(np.uint64)
        places = np.minimum(np.searchsorted(ordered, some), len(ordered) - 1)
        found[start : start + _STRETCH] = ordered[places] == some
    return found


class Completers(Struct, frozen=True, eq=False):
    """Sources that finish handshakes: between the two looks, and recently, by the addresses that the kernel remembers.

    now: (S,) SOURCE, None if nothing was counted. lately: (N,) PEER. whole: the kernel does not remember any address
    that is missing from `lately`.
    """

    now: NDArray[Any] | None
    lately: NDArray[Any]
    whole: bool = True

    def finished_now(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of N sources finished a handshake between the two looks, (N,)."""
        if self.now is None:
            return np.zeros(len(numbers), dtype=bool)
        return are_in(numbers, self.now["number"][self.now["finished"] > 0])

    def finished_lately(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of N sources finished a handshake within the last hour or so, (N,)."""
        return are_in(numbers, self.lately["number"])

    def finished_within(self, numbers: Numbers, within_s: float) -> NDArray[np.bool_]:
        """Which of N sources ended a connection in good order in the last `within_s`, (N,)."""
        return are_in(numbers, self.lately["number"][self.lately["age_s"] <= within_s])

    def now_within(self, prefix: Prefix, port: int | None = None) -> int:
        """How many handshakes from within a prefix finished between the two looks, at one port or all."""
        if self.now is None:
            return 0
        return int(self._now(prefix, port)["finished"].sum())

    def late_within(self, prefix: Prefix, port: int | None = None) -> int:
        """How many of these handshakes finished after a retransmitted SYN-ACK."""
        return 0 if self.now is None else int(self._now(prefix, port)["late"].sum())

    def _now(self, prefix: Prefix, port: int | None) -> NDArray[Any]:
        """Rows (n,) SOURCE of the sources within a prefix, counted between the two looks, at one port or (None) at
        all.
        """
        rows = np.empty(0, dtype=SOURCE) if self.now is None else self.now
        rows = rows[prefix.holds(rows["number"])]
        return rows if port is None else rows[rows["port"] == port]

    def _remembered(self, prefix: Prefix | None) -> NDArray[Any]:
        """Rows (n,) PEER of the remembered addresses within a prefix, or (None) of all."""
        return self.lately if prefix is None else self.lately[prefix.holds(self.lately["number"])]

    def lately_within(self, prefix: Prefix | None, within_s: float) -> int:
        """How many addresses within a prefix, or in all, ended a connection in good order in the last `within_s`."""
        rows = self._remembered(prefix)
        return int(np.count_nonzero(rows["age_s"] <= within_s))

    def share_within(self, prefix: Prefix, within_s: float) -> float:
        """Of the addresses that ended a connection in good order in the last `within_s`, the share within a prefix."""
        everybody = self.lately_within(None, within_s)
        return self.lately_within(prefix, within_s) / everybody if everybody else 0.0

    def youngest_s(self, prefix: Prefix | None) -> float:
        """How long ago an address within a prefix, or any address, last did so; infinity if none is remembered."""
        rows = self._remembered(prefix)
        return float(rows["age_s"].min(initial=np.inf))

    def round_trip_s(self) -> float:
        """The round trip that nine in ten of the sources that finish, or did recently, do not exceed; 0: none known."""
        known = [self.lately["rtt_s"][self.lately["rtt_s"] > 0]]
        if self.now is not None:
            timed = self.now[self.now["timed"] > 0]
            known.append(timed["sum_us"] / timed["timed"] / 1e6)
        trips = np.concatenate(known)
        return float(np.quantile(trips, _NEARLY_ALL)) if len(trips) else 0.0

    def rtt_s(self, prefix: Prefix) -> float:
        """The median round trip of addresses within a prefix; 0 where none is known."""
        rows = self.lately[prefix.holds(self.lately["number"]) & (self.lately["rtt_s"] > 0)]
        return float(np.median(rows["rtt_s"])) if len(rows) else 0.0


def completers_of(sample: Sample, arrived: Arrived | None) -> Completers:
    """The sources that, according to a Sample, finish handshakes."""
    peers = sample.part(Peers)
    now = None if arrived is None else arrived.sources
    if peers is None:
        return Completers(now, np.empty(0, dtype=PEER), False)
    return Completers(now, peers.rows, peers.whole)
