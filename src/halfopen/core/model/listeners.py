"""Listeners as they are shown: who holds each, its two queues, and what waits in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.model import join, timing
from halfopen.core.model.columns import Columns
from halfopen.core.sample import Process, Sample
from halfopen.core.units import address_text
from halfopen.core.where import ListenerKey

DEFAULT_SYNACK_RETRIES: Final = 5
# The key that tells listeners of a namespace apart: address family, address, port, index of the device.


class Ages(Struct, frozen=True):
    """Ages of half-open connections in seconds: median, 99th percentile, oldest."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


class ListenerView(Struct, frozen=True):
    """One listener, or one SO_REUSEPORT group of `members`, with what waits in its two queues.

    half_open: requests whose handshake is not finished. deferred: finished, waiting for data (TCP_DEFER_ACCEPT) or,
    with defers False, for room in the accept queue; defers None: not known. may_have_answered: of half_open, those of
    whom that cannot be told (`answered`). young: never retransmitted. syn_queue, syn_queue_young: the kernel's own
    count of the queue, None when it was not read (it needs eBPF). retransmits: how many half-open ones had the
    SYN-ACK sent again 0, 1, 2 … times. syn_queue_limit, accept_queue_limit: None when not known. retries and
    release_time_s: as configured; effective_release_time_s: with the kernel's own pruning of a queue more than half
    full. overridden: TCP_SYNCNT is set; retries_known False: it could not be read, and the retries are those of the
    setting, which it may override. drops: at most as many SYNs and handshakes were turned away at this listener
    since it was opened (`_turned_away`; between two readings: `turned_away.py`). queues: (members,) QUEUES, None unless
    eBPF met every member. aged_s: the ages were read that long before the depths of the queues; 0: with them.
    """

    family: int
    address: str
    port: int
    ifindex: int
    members: int
    processes: tuple[Process, ...]
    half_open: int
    deferred: int
    young: int
    retransmits: tuple[int, ...]
    ages: Ages
    syn_queue: int | None
    syn_queue_young: int | None
    syn_queue_limit: int | None
    accept_queue: int
    accept_queue_limit: int | None
    drops: int
    retries: int
    overridden: bool
    defer_accept_s: int
    release_time_s: float
    effective_release_time_s: float
    may_have_answered: int = 0
    defers: bool | None = None
    queues: NDArray[Any] | None = None
    retries_known: bool = True
    aged_s: float = 0.0

    def __eq__(self, other: object) -> bool:
        """Whether all that is shown of them is the same: arrays, as `queues` holds, have no truth value."""
        if not isinstance(other, ListenerView):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _SHOWN)

    __hash__ = None  # type: ignore[assignment]

    @property
    def fill(self) -> float | None:
        """Requests held over what the SYN queue takes (`syn_queue_cap`), None when that is not known."""
        return self.held / cap if (cap := self.syn_queue_cap) else None

    @property
    def key(self) -> ListenerKey:
        """The identity of the listener within its namespace."""
        return self.family, self.address, self.port, self.ifindex

    @property
    def syn_queue_cap(self) -> int | None:
        """How many requests the SYN queue takes: its limit, and one more for each member where it was seen to hold more
        than the limit, as newer kernels admit it (`inet_csk_reqsk_queue_is_full()`); None when not known. A SYN that
        reopens a connection in TIME_WAIT is admitted past it.
        """
        if self.syn_queue_limit is None or self.held <= self.syn_queue_limit:
            return self.syn_queue_limit
        return self.syn_queue_limit + self.members

    @property
    def accept_queue_cap(self) -> int | None:
        """How many connections the accept queue takes: one more than the backlog of each member; None when not known.

        Never fewer than it holds, as after the backlog was lowered. Since commit 64a146513f8f ("[NET]: Revert incorrect
        accept queue backlog changes.") (in v2.6.21), `sk_acceptq_is_full()` compares with `>`.
        """
        if self.accept_queue_limit is None:
            return None
        return max(self.accept_queue, self.accept_queue_limit + self.members)

    @property
    def held(self) -> int:
        """Requests in the SYN queue: as the kernel counts them where that could be read, else those seen."""
        return self.half_open + self.deferred if self.syn_queue is None else self.syn_queue


_SHOWN: Final = tuple(name for name in ListenerView.__struct_fields__ if name != "queues")


def _by_group(group_of: NDArray[np.int32]) -> dict[int, NDArray[np.intp] | slice]:
    """Group → the places (K,) of its requests, by the group of each, (N,); a slice of all where only one has any."""
    if not len(group_of):
        return {}
    first = int(group_of[0])
    if (group_of == first).all():
        return {first: slice(None)}
    order = np.argsort(group_of, kind="stable")
    edges = np.flatnonzero(np.diff(group_of[order])) + 1
    return {int(group_of[part[0]]): part for part in np.split(order, edges)}


def views_of(
    sample: Sample,
    columns: Columns,
    is_deferred: NDArray[np.bool_],
    deferring: frozenset[int],
    retries: int,
    cap_s: float,
    kept: Mapping[int, ListenerView],
) -> list[ListenerView]:
    """A view of each listener, in the order of `columns.groups`.

    is_deferred: of the N requests, (N,). deferring: places of groups that defer. retries: tcp_synack_retries. cap_s:
    the longest timer. kept: views that are known already, by place.
    """
    if len(kept) == len(columns.groups):
        return list(kept.values())
    places = _by_group(columns.group_of)
    empty = np.empty(0, dtype=np.intp)
    views = []
    for i, group in enumerate(columns.groups):
        if i in kept:
            views.append(kept[i])
            continue
        at = places.get(i, empty)
        deferred_here = is_deferred[at]
        ages, counts = columns.ages_s[at], columns.retransmits[at]
        deferred = int(np.count_nonzero(deferred_here))
        if deferred:
            ages, counts = ages[~deferred_here], counts[~deferred_here]
        profile = np.bincount(counts).tolist() if len(counts) else []
        views.append(_view(sample, group, deferred, ages, profile, i in deferring, retries, cap_s))
    return views


class _Queue(Struct, frozen=True):
    """The SYN queue of a group: what eBPF read of it (None: it did not), its retries as set and as in force, and how
    long it defers.
    """

    length: int | None
    young: int | None
    retries: int
    overridden: bool
    effective: int
    defer_s: int


def _queues(sample: Sample, group: join.Group) -> NDArray[Any] | None:
    """The rows that eBPF read for the members of a group; None unless eBPF met all of them."""
    queues = None if sample.queues is None else sample.queues[list(group.rows)]
    return None if queues is None or not queues["known"].all() else queues


def _queue(sample: Sample, group: join.Group, held: int, young: int, retries: int) -> _Queue:
    """held, young: the requests counted for the group, for where the queue itself could not be read."""
    rows = sample.listeners[list(group.rows)]
    queues = _queues(sample, group)
    limits = rows["accept_queue_limit"].tolist()
    if queues is None:
        known = [o for inode in rows["inode"].tolist() if (o := sample.options.get(inode)) is not None]
        override = next((o.retries for o in known if o.retries is not None), None)
        own = retries if override is None else override
        # From outside, the members of a group appear to share equally.
        share = len(rows)
        effective = timing.effective_retries(own, held // share, young // share, sum(limits) // share)
        return _Queue(None, None, own, override is not None, effective, 0)
    each = [(q["syn_retries"].item() or retries, q["qlen"].item(), q["young"].item()) for q in queues]
    effective = min(timing.effective_retries(*one, limit) for one, limit in zip(each, limits, strict=True))
    return _Queue(
        int(queues["qlen"].sum()),
        int(queues["young"].sum()),
        each[0][0],
        bool(queues["syn_retries"][0]),
        effective,
        int(timing.started_s(int(queues["defer_accept"].max()))),
    )


def _turned_away(drops: int, counters: Mapping[str, int]) -> int:
    """The drops of a listener, but never more than the namespace turned away.

    sk_drops also counts SYNs that were sent again and answered, deferred ACKs and RSTs (`tcp_v4_do_rcv()`, discard);
    ListenDrops counts every SYN and handshake that was turned away, and nothing else.
    """
    return min(drops, counters.get("ListenDrops", drops))


def _view(
    sample: Sample,
    group: join.Group,
    deferred: int,
    ages: NDArray[np.float32],
    profile: list[int],
    deferring: bool,
    retries: int,
    cap_s: float,
) -> ListenerView:
    """What is shown of a listener. ages: of its H half-open requests in seconds, (H,). profile: how many of them had
    their SYN-ACK retransmitted 0, 1, 2 … times. cap_s: the longest wait between two SYN-ACKs.
    """
    rows = sample.listeners[list(group.rows)]
    accept_limit = int(rows["accept_queue_limit"].sum())
    exact = sample.completeness.source != "proc"
    limit = _syn_queue_limit(accept_limit, len(rows), sample.settings) if exact else None
    young = profile[0] if profile else 0
    queue = _queue(sample, group, len(ages) + deferred, young, retries)
    known = [o for inode in rows["inode"].tolist() if (o := sample.options.get(inode)) is not None]
    half_open = len(ages)
    if sample.depths and queue.length is not None and queue.young is not None:
        half_open, young = queue.length, queue.young
    processes = {p.pid: p for inode in rows["inode"].tolist() for p in sample.owners.get(inode, ())}
    return ListenerView(
        family=group.family,
        address=address_text(group.family, group.address),
        port=group.port,
        ifindex=group.ifindex,
        members=len(rows),
        processes=tuple(processes[pid] for pid in sorted(processes)),
        half_open=half_open,
        deferred=deferred,
        young=young,
        retransmits=tuple(profile),
        ages=_ages(ages),
        syn_queue=queue.length,
        syn_queue_young=queue.young,
        syn_queue_limit=limit,
        accept_queue=int(rows["accept_queue"].sum()),
        accept_queue_limit=accept_limit if limit is not None else None,
        drops=_turned_away(int(rows["drops"].sum()), sample.counters),
        retries=queue.retries,
        overridden=queue.overridden,
        defer_accept_s=max((o.defer_accept_s for o in known), default=0) or queue.defer_s or int(deferring),
        release_time_s=timing.release_time_s(queue.retries, cap_s),
        effective_release_time_s=timing.release_time_s(queue.effective if exact else queue.retries, cap_s),
        queues=_queues(sample, group),
        defers=deferring or (False if queue.length is not None or len(known) == len(rows) else None),
        retries_known=queue.length is not None or len(known) == len(rows),
    )


def _syn_queue_limit(accept_limit: int, members: int, settings: Mapping[str, int]) -> int:
    """How many requests the kernel admits: the backlog of each member, less with SYN cookies off
    (`tcp_conn_request()`).

    Newer kernels admit one more than the backlog (`inet_csk_reqsk_queue_is_full()`); the limit shown is the backlog.
    """
    if settings.get("tcp_syncookies", 1) == 0 and "tcp_max_syn_backlog" in settings:
        # The last quarter of tcp_max_syn_backlog is kept for peers that proved themselves.
        backlog = settings["tcp_max_syn_backlog"]
        return min(accept_limit, (backlog - (backlog >> 2)) * members)
    return accept_limit


def _ages(ages: NDArray[np.float32]) -> Ages:
    """Median, 99th percentile and maximum of ages in seconds, (H,)."""
    n = len(ages)
    if not n:
        return Ages()
    # A whole sort: numpy's vectorised one is faster than its partition.
    ordered = np.sort(ages)
    return Ages(float(ordered[(n - 1) // 2]), float(ordered[min(n - 1, -(-n * 99 // 100) - 1)]), float(ordered[-1]))
