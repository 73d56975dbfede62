"""Handshakes that finished: how long they took, how often the SYN-ACK went again, by listener, between two readings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.filters import Filter
from halfopen.core.model import join
from halfopen.core.model.histogram import Histogram
from halfopen.core.model.keyed import requests_of
from halfopen.core.sample import LISTENER, Process
from halfopen.core.sample.handshakes import BUCKETS, HandshakeCounters, edges_s
from halfopen.core.units import address_text
from halfopen.core.where import Host, Namespace


def difference(later: HandshakeCounters, earlier: HandshakeCounters) -> HandshakeCounters:
    """What came between two readings of the same programs. A key forgotten in between counts from nothing.

    The longest time is exact where it is a new one; otherwise it is the end of the highest bucket that gained.
    """
    before = {key.tobytes(): i for i, key in enumerate(earlier.keys)}
    counters = later.counters.copy()
    edges = edges_s()
    for i, key in enumerate(later.keys):
        if (j := before.get(key.tobytes())) is None:
            continue
        now, then = later.counters[i], earlier.counters[j]
        for name in counters.dtype.names or ():
            if (now[name] < then[name]).any() if now[name].shape else now[name] < then[name]:
                break  # forgotten and met again
        else:
            for name in counters.dtype.names or ():
                counters[name][i] = now[name] - then[name]
            counters["max_us"][i] = _longest_us(counters["times"][i], int(now["max_us"]), int(then["max_us"]), edges)
    return HandshakeCounters(
        later.monotonic_s,
        later.monotonic_s - earlier.monotonic_s,
        later.keys,
        counters,
        max(0, later.unfit - earlier.unfit),
        later.arrivals and earlier.arrivals,
        later.given_up and earlier.given_up,
    )


def _longest_us(gained: NDArray[Any], now: int, then: int, edges: NDArray[np.float64]) -> int:
    """The longest time in us among those counted between two readings: the maximum `now` if it exceeds the former one,
    `then`; else the upper edge of the highest bucket that gained, at most `now`. gained: (BUCKETS,); edges: in
    seconds.
    """
    if now > then:
        return now
    highest = np.flatnonzero(gained)
    return min(now, int(edges[highest[-1] + 1] * 1e6)) if len(highest) and highest[-1] < BUCKETS - 1 else now


class Handshakes(Struct, frozen=True, eq=False):
    """The handshakes of one listener (or SO_REUSEPORT group), or of several together, in `seconds`.

    completed: all that finished, by how many SYN-ACK retransmissions they took: (RETRANSMITS,). ipv4, ipv6: their
    times. untimed: finished by SYN cookies, in no histogram. approximate: of the times, this many are the least
    possible. synack_retransmits: SYN-ACKs sent again, to whoever. arrivals: requests put into the SYN queue; given_up:
    taken out of it unfinished (time ran out, reset or released); None where that could not be counted.
    """

    seconds: float
    by_retransmits: NDArray[np.int64]
    ipv4: Histogram
    ipv6: Histogram
    completed_ipv4: int
    untimed: int
    approximate: int
    synack_retransmits: int
    arrivals: int | None
    given_up: int | None

    @property
    def completed(self) -> int:
        """How many finished."""
        return int(self.by_retransmits.sum())

    @property
    def completed_ipv6(self) -> int:
        """How many of them by IPv6."""
        return self.completed - self.completed_ipv4

    @property
    def retransmitted(self) -> int:
        """How many finished that needed a retransmitted SYN-ACK."""
        return int(self.by_retransmits[1:].sum())

    @property
    def times(self) -> Histogram:
        """IPv4 and IPv6 together."""
        return self.ipv4 + self.ipv6

    def per_s(self, count: int | None) -> float | None:
        """A count as a rate; None stays None."""
        return None if count is None else count / self.seconds if self.seconds > 0 else 0.0


def collect(reading: HandshakeCounters, rows: NDArray[np.intp] | slice = slice(None)) -> Handshakes:
    """The sum of these rows of a difference, by their places (n,) or as a slice."""
    keys, counters = reading.keys[rows], reading.counters[rows]
    is_v4 = keys["ipv4"] != 0
    return Handshakes(
        seconds=reading.seconds,
        by_retransmits=counters["by_retransmits"].sum(axis=0).astype(np.int64),
        ipv4=_histogram(counters[is_v4]),
        ipv6=_histogram(counters[~is_v4]),
        completed_ipv4=int(counters["by_retransmits"][is_v4].sum()),
        untimed=int(counters["untimed"].sum()),
        approximate=int(counters["approximate"].sum()),
        synack_retransmits=int(counters["synack_retransmits"].sum()),
        arrivals=int(counters["arrivals"].sum()) if reading.arrivals else None,
        given_up=int(counters["given_up"].sum()) if reading.given_up else None,
    )


def _histogram(counters: NDArray[Any]) -> Histogram:
    """The times of all rows of counters (n,) together; their `times` are (n, BUCKETS)."""
    return Histogram(
        counters["times"].sum(axis=0).astype(np.int64),
        float(counters["sum_us"].sum()) * 1e-6,
        float(counters["max_us"].max(initial=0)) * 1e-6,
    )


class ListenerHandshakes(Struct, frozen=True, eq=False):
    """One listener, or one SO_REUSEPORT group of `members`, and its handshakes; members 0: it is gone, or never was (a
    simultaneous open).
    """

    family: int
    address: str
    port: int
    ifindex: int
    members: int
    processes: tuple[Process, ...]
    handshakes: Handshakes


class NetnsHandshakes(Struct, frozen=True, eq=False):
    """One namespace: all its handshakes, and by listener, the busiest first."""

    where: Namespace
    all: Handshakes
    listeners: tuple[ListenerHandshakes, ...]


class Observed(Struct, frozen=True, eq=False):
    """What finished on this machine in `seconds` from `time` (since 1970) on.

    interrupted: ended before the time asked for. missing: what could not be counted, and why. unfit: events that found
    no room to be counted in. skipped: a line for each namespace whose listeners could not be read.
    """

    time: float
    host: Host
    seconds: float
    interrupted: bool
    missing: tuple[str, ...]
    unfit: int
    namespaces: tuple[NetnsHandshakes, ...]
    skipped: tuple[str, ...]


def chosen(reading: HandshakeCounters, filter: Filter) -> HandshakeCounters:
    """A reading with only the keys whose listener a filter lets through."""
    wanted = Filter(listeners=filter.listeners)
    rows = requests_of(reading.keys)
    keep = wanted.mask(rows, np.zeros(len(rows), dtype=np.float32))
    return HandshakeCounters(
        reading.monotonic_s,
        reading.seconds,
        reading.keys[keep],
        reading.counters[keep],
        reading.unfit,
        reading.arrivals,
        reading.given_up,
    )


def by_listener(
    reading: HandshakeCounters,
    where: Namespace,
    listeners: NDArray[Any] | None = None,
    owners: Mapping[int, Iterable[Process]] | None = None,
) -> NetnsHandshakes:
    """The handshakes of namespace `where`, joined to its listeners (L,) LISTENER as the kernel does.

    owners: the processes that hold a listener, by its inode.

    Those of a listener that is gone stand under the address they came to, with members 0.
    """
    places = np.flatnonzero(reading.keys["netns"] == where.inode)
    requests = requests_of(reading.keys[places])
    rows = np.zeros(0, dtype=LISTENER) if listeners is None else listeners
    groups = join.groups(rows)
    group_of = join.assign(requests, groups)
    found = []
    for i, group in enumerate(groups):
        if len(mine := places[group_of == i]):
            inodes = rows["inode"][list(group.rows)].tolist()
            who = {p.pid: p for inode in inodes for p in (owners or {}).get(inode, ())}
            name = address_text(group.family, group.address)
            found.append(_row(reading, mine, group.family, name, group, tuple(who[pid] for pid in sorted(who))))
    lost: dict[tuple[int, bytes, int, int], list[int]] = {}
    for place in places[group_of == join.NONE]:
        key = reading.keys[place]
        end = (int(key["family"]), bytes(key["address"]), int(key["port"]), int(key["ifindex"]))
        lost.setdefault(end, []).append(int(place))
    for (family, address, port, ifindex), mine in lost.items():
        gone = join.Group(family, address, port, ifindex, ())
        found.append(_row(reading, np.array(mine), family, address_text(family, address), gone, ()))
    found = [one for one in found if _any(one.handshakes)]
    found.sort(key=lambda one: (-one.handshakes.completed, -(one.handshakes.arrivals or 0), one.port, one.address))
    return NetnsHandshakes(where, collect(reading, places), tuple(found))


def _row(
    reading: HandshakeCounters,
    mine: NDArray[Any],
    family: int,
    address: str,
    group: join.Group,
    who: tuple[Process, ...],
) -> ListenerHandshakes:
    return ListenerHandshakes(family, address, group.port, group.ifindex, len(group.rows), who, collect(reading, mine))


def _any(one: Handshakes) -> bool:
    return bool(one.completed or one.arrivals or one.given_up or one.synack_retransmits)
