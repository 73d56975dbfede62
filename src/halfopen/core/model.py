"""The Model: everything shown of a Sample, computed from it alone (and from the one before it, for rates)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core import join, timing
from halfopen.core.sample import ListenerOptions, Process, Sample
from halfopen.core.sources import Sources, SourceView, top_sources
from halfopen.core.units import address_text

DEFAULT_SYNACK_RETRIES: Final = 5
NO_AGES: Final[NDArray[np.float32]] = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages of half-open connections in seconds: median, 99th percentile, oldest."""

    p50: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@dataclass(frozen=True, slots=True)
class ListenerView:
    """One listener, or one SO_REUSEPORT group of `members`, with what waits in its two queues.

    half_open: requests whose handshake is not finished. deferred: finished, waiting for data (TCP_DEFER_ACCEPT). young:
    never retransmitted. retransmits: how many half-open ones had the SYN-ACK sent again 0, 1, 2 … times.
    syn_queue_limit, accept_queue_limit: None when not known. retries and release_time_s: as configured;
    effective_release_time_s: with the kernel's own pruning of a queue more than half full. overridden: TCP_SYNCNT is
    set. drops: SYNs and handshakes the kernel dropped at this listener since it was opened.
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
    syn_queue_limit: int | None
    accept_queue: int
    accept_queue_limit: int | None
    drops: int
    retries: int
    overridden: bool
    defer_accept_s: int
    release_time_s: float
    effective_release_time_s: float

    @property
    def fill(self) -> float | None:
        """Requests held over the SYN queue's limit, None when the limit is not known."""
        return (self.half_open + self.deferred) / self.syn_queue_limit if self.syn_queue_limit else None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What one namespace looks like.

    half_open, deferred: request sockets by kind (deferred ones finished their handshake). full: sockets in true
    SYN_RECV. orphans: half-open ones whose listener is gone. arrivals_per_s: half-open ones that came in the last
    second. listeners: all, the fullest first. ages_s (N,) and is_deferred (N,) go with sample.requests; listener_of
    (N,) is the place of a request's listener in join order. rates: counters per second since the previous Sample; None
    without one.
    """

    sample: Sample
    half_open: int
    deferred: int
    full: int
    orphans: int
    oldest_s: float
    arrivals_per_s: int
    retries: int
    release_time_s: float
    rto_max_s: float
    listeners: tuple[ListenerView, ...]
    sources: tuple[SourceView, ...]
    distinct_sources: int
    ages_s: NDArray[np.float32] = field(repr=False)
    is_deferred: NDArray[np.bool_] = field(repr=False)
    rates: Mapping[str, float] | None = None


def rto_max_s(settings: Mapping[str, int]) -> float:
    """The cap of the SYN-ACK timeout in seconds: tcp_rto_max_ms where the kernel has it (6.15), else 120 s."""
    return settings.get("tcp_rto_max_ms", int(timing.RTO_MAX_S * 1000)) / 1000


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Requests told apart: groups of listeners, each request's group (N,), which are deferred (N,), ages in s (N,)."""

    groups: list[join.Group]
    group_of: NDArray[np.int32]
    is_deferred: NDArray[np.bool_]
    ages_s: NDArray[np.float32]
    deferring: frozenset[int]


def tell_apart(
    requests: NDArray[Any],
    listeners: NDArray[Any],
    options: Mapping[int, ListenerOptions],
    cap_s: float,
    timeouts: NDArray[np.uint8] | None = None,
) -> Told:
    """Join N requests to their listeners and tell deferred-accept ones from half-open ones.

    A timer that ran out more often than a SYN-ACK was sent again is a deferred request's for certain. On a listener
    that defers (its option says so, or it holds a certain one) a request never retransmitted may be one too, and
    counts as deferred: a half-open one there is known as such from its first retransmission, after 1 s.
    """
    found = join.groups(listeners)
    group_of = join.assign(requests, found)
    retransmits = np.ascontiguousarray(requests["retransmits"])
    expires_ms = np.ascontiguousarray(requests["expires_ms"])
    count = timing.waits(retransmits, expires_ms, cap_s, timeouts)
    is_deferred = count > retransmits
    deferring = {
        i
        for i, group in enumerate(found)
        if any((o := options.get(int(listeners[row]["inode"]))) and o.defer_accept_s for row in group.rows)
    }
    if is_deferred.any():
        deferring |= set(np.unique(group_of[is_deferred]).tolist()) - {join.NONE}
    if deferring:
        is_deferred |= (retransmits == 0) & np.isin(group_of, list(deferring))
    return Told(
        found, group_of, is_deferred, timing.ages_s(retransmits, count, expires_ms, cap_s), frozenset(deferring)
    )


def build(sample: Sample, previous: Sample | None = None, *, top: int = 10) -> Model:
    """Compute the Model of a Sample, with rates against `previous` and the `top` sources by prefix."""
    cap_s = rto_max_s(sample.settings)
    retries = sample.settings.get("tcp_synack_retries", DEFAULT_SYNACK_RETRIES)
    told = tell_apart(sample.requests, sample.listeners, sample.options, cap_s, sample.timeouts)
    waiting = ~told.is_deferred
    half_open = int(np.count_nonzero(waiting))
    everything = half_open == len(waiting)
    ages = told.ages_s if everything else told.ages_s[waiting]
    sources = (
        top_sources(sample.requests if everything else sample.requests[waiting], ages, top) if half_open else Sources()
    )
    views = _listener_views(sample, told, retries, cap_s)
    return Model(
        sample=sample,
        half_open=half_open,
        deferred=len(waiting) - half_open,
        full=sample.full,
        orphans=int(np.count_nonzero((told.group_of == join.NONE) & waiting)),
        oldest_s=float(ages.max()) if half_open else 0.0,
        arrivals_per_s=int(np.count_nonzero(ages < 1.0)),
        retries=retries,
        release_time_s=timing.release_time_s(retries, cap_s),
        rto_max_s=cap_s,
        listeners=tuple(sorted(views, key=lambda v: (-v.half_open, -v.accept_queue, v.port, v.address))),
        sources=sources.top,
        distinct_sources=sources.distinct,
        ages_s=told.ages_s,
        is_deferred=told.is_deferred,
        rates=_rates(sample, previous) if previous is not None else None,
    )


def _rates(sample: Sample, previous: Sample) -> dict[str, float]:
    seconds = sample.monotonic_s - previous.monotonic_s
    if seconds <= 0:
        return {}
    return {
        name: (value - previous.counters[name]) / seconds
        for name, value in sample.counters.items()
        if name in previous.counters
    }


def _by_group(told: Told) -> dict[int, NDArray[np.intp] | slice]:
    """Group → the places of its requests; all of them at once where only one group has any."""
    if not len(told.group_of):
        return {}
    first = int(told.group_of[0])
    if (told.group_of == first).all():
        return {first: slice(None)}
    order = np.argsort(told.group_of, kind="stable")
    edges = np.flatnonzero(np.diff(told.group_of[order])) + 1
    return {int(told.group_of[part[0]]): part for part in np.split(order, edges)}


def _listener_views(sample: Sample, told: Told, retries: int, cap_s: float) -> list[ListenerView]:
    places = _by_group(told)
    retransmits = np.ascontiguousarray(sample.requests["retransmits"])
    empty = np.empty(0, dtype=np.intp)
    views = []
    for i, group in enumerate(told.groups):
        at = places.get(i, empty)
        is_deferred = told.is_deferred[at]
        ages, counts = told.ages_s[at], retransmits[at]
        deferred = int(np.count_nonzero(is_deferred))
        if deferred:
            ages, counts = ages[~is_deferred], counts[~is_deferred]
        profile = np.bincount(counts).tolist() if len(counts) else []
        views.append(_view(sample, group, deferred, ages, profile, i in told.deferring, retries, cap_s))
    return views


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
    rows = sample.listeners[list(group.rows)]
    known = [o for inode in rows["inode"].tolist() if (o := sample.options.get(inode)) is not None]
    override = next((o.retries for o in known if o.retries is not None), None)
    own_retries = retries if override is None else override
    accept_limit = int(rows["accept_queue_limit"].sum())
    limit = (
        _syn_queue_limit(accept_limit, len(rows), sample.settings) if sample.completeness.source == "netlink" else None
    )
    effective = own_retries
    if limit is not None:
        # The members of a group share alike, as far as can be told from outside.
        share = len(rows)
        young = profile[0] if profile else 0
        effective = timing.effective_retries(
            own_retries, (len(ages) + deferred) // share, young // share, accept_limit // share
        )
    processes = {p.pid: p for inode in rows["inode"].tolist() for p in sample.owners.get(inode, ())}
    return ListenerView(
        family=group.family,
        address=address_text(group.family, group.address),
        port=group.port,
        ifindex=group.ifindex,
        members=len(rows),
        processes=tuple(processes[pid] for pid in sorted(processes)),
        half_open=len(ages),
        deferred=deferred,
        young=profile[0] if profile else 0,
        retransmits=tuple(profile),
        ages=_ages(ages),
        syn_queue_limit=limit,
        accept_queue=int(rows["accept_queue"].sum()),
        accept_queue_limit=accept_limit if limit is not None else None,
        drops=int(rows["drops"].sum()),
        retries=own_retries,
        overridden=override is not None,
        defer_accept_s=max((o.defer_accept_s for o in known), default=0) or (1 if deferring else 0),
        release_time_s=timing.release_time_s(own_retries, cap_s),
        effective_release_time_s=timing.release_time_s(effective, cap_s),
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
    n = len(ages)
    if not n:
        return Ages()
    # A whole sort: numpy's vectorised one is faster than its partition.
    ordered = np.sort(ages)
    return Ages(float(ordered[(n - 1) // 2]), float(ordered[min(n - 1, -(-n * 99 // 100) - 1)]), float(ordered[-1]))
