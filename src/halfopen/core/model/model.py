"""The Model: everything shown of a Sample, computed from it alone (and from the one before it, for rates)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.filters import Filter
from halfopen.core.model import answered, join, timing
from halfopen.core.model.columns import Builder, Columns, settle
from halfopen.core.model.sources import Sources, SourceView, top_sources
from halfopen.core.sample import Process, Sample
from halfopen.core.units import Address, address_text

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

    half_open: requests whose handshake is not finished. deferred: finished, waiting for data (TCP_DEFER_ACCEPT) or,
    with defers False, for room in the accept queue; defers None: not known. may_have_answered: of half_open, those of
    whom that cannot be told (`answered`). young: never retransmitted. syn_queue, syn_queue_young: the kernel's own
    count of the queue, None when only eBPF could have read it and did not. retransmits: how many half-open ones had the
    SYN-ACK sent again 0, 1, 2 … times. syn_queue_limit, accept_queue_limit: None when not known. retries and
    release_time_s: as configured; effective_release_time_s: with the kernel's own pruning of a queue more than half
    full. overridden: TCP_SYNCNT is set. drops: SYNs and handshakes the kernel dropped at this listener since it was
    opened.
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

    @property
    def fill(self) -> float | None:
        """Requests held over the SYN queue's limit, None when the limit is not known."""
        return self.held / self.syn_queue_limit if self.syn_queue_limit else None

    @property
    def key(self) -> tuple[int, str, int, int]:
        """What no other listener of the namespace shares."""
        return self.family, self.address, self.port, self.ifindex

    @property
    def held(self) -> int:
        """Requests in the SYN queue: as the kernel counts them where that could be read, else those seen."""
        return self.half_open + self.deferred if self.syn_queue is None else self.syn_queue


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What one namespace looks like.

    half_open, deferred: request sockets by kind (deferred ones finished their handshake). may_have_answered: of
    half_open, those of whom that cannot be told, because of `doubt`, without eBPF; is_doubtful (N,) says which, and
    certain is the Model without them (None: there are none). full: sockets in true SYN_RECV. orphans: half-open ones
    whose listener is gone. arrivals_per_s: half-open ones that came in the last second. listeners: all, the fullest
    first. ages_s (N,) and is_deferred (N,) go with sample.requests; listener_of (N,) is the place of a request's
    listener in join order. With a Sample of depths only, half_open is what the queues hold, and there are no ages,
    sources or deferred ones. rates: counters per second since the previous Sample; None without one. views: the
    listeners in join order.
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
    listeners: tuple[ListenerView, ...]
    sources: tuple[SourceView, ...]
    distinct_sources: int
    ages_s: NDArray[np.float32] = field(repr=False)
    is_deferred: NDArray[np.bool_] = field(repr=False)
    rates: Mapping[str, float] | None = None
    views: tuple[ListenerView, ...] = field(default=(), repr=False)
    may_have_answered: int = 0
    doubt: str = ""
    is_doubtful: NDArray[np.bool_] = field(repr=False, default_factory=lambda: np.empty(0, dtype=bool))
    certain: Model | None = field(repr=False, default=None)

    def doubtful(self, at: NDArray[np.intp] | slice) -> NDArray[np.bool_]:
        """`is_doubtful` of some of its requests, by their places."""
        return self.is_doubtful[at] if len(self.is_doubtful) else np.zeros(len(self.is_deferred), dtype=bool)[at]


def columns_of(sample: Sample) -> Columns:
    """The columns of a Sample: those it came with, else worked out from its rows."""
    if sample.columns is not None:
        return sample.columns
    builder = Builder(sample.listeners, timing.RTO_MAX_S)
    builder.add(sample.requests, timeouts=sample.timeouts)
    return builder.take()


def build(
    sample: Sample,
    previous: Sample | None = None,
    *,
    top: int = 10,
    before: Model | None = None,
    calm: answered.Calm | None = None,
) -> Model:
    """Compute the Model of a Sample, with rates against `previous` and the `top` sources by prefix.

    before: a Model of the same namespace; where both are of depths only, its listeners are taken over as far as nothing
    of theirs changed (the very same objects). calm: what earlier readings tell of ACKs that were ignored.
    """
    columns = columns_of(sample)
    is_deferred, deferring = settle(columns, sample)
    rates = _rates(sample, previous) if previous is not None else None
    model = _build(sample, columns, is_deferred, deferring, top, rates, before)
    if columns.exact or not len(is_deferred):
        return model
    doubt = answered.doubt_of(sample, columns.groups, calm)
    if not doubt.any:
        return model
    is_doubtful = doubt.of_groups(columns.group_of, answered.earliest_s(columns.ages_s, sample.monotonic_s))
    is_doubtful &= ~is_deferred
    if not is_doubtful.any():
        return model
    certain = _build(sample, columns.pick(~is_doubtful), is_deferred[~is_doubtful], deferring, top, rates, None)
    why = answered.why(doubt.reason(place) for place in np.unique(columns.group_of[is_doubtful]).tolist())
    return _with_doubt(model, certain, is_doubtful, why)


def _with_doubt(model: Model, certain: Model, is_doubtful: NDArray[np.bool_], why: str) -> Model:
    """The Model with what cannot be told of some."""
    pairs = zip(model.views, certain.views, strict=True)
    views = [replace(v, may_have_answered=v.half_open - silent.half_open) for v, silent in pairs]
    return replace(
        model,
        listeners=_fullest_first(views),
        views=tuple(views),
        may_have_answered=int(np.count_nonzero(is_doubtful)),
        doubt=why,
        is_doubtful=is_doubtful,
        certain=certain,
    )


def _build(
    sample: Sample,
    columns: Columns,
    is_deferred: NDArray[np.bool_],
    deferring: frozenset[int],
    top: int,
    rates: Mapping[str, float] | None,
    before: Model | None,
) -> Model:
    cap_s = timing.RTO_MAX_S
    retries = sample.settings.get("tcp_synack_retries", DEFAULT_SYNACK_RETRIES)
    waiting = ~is_deferred
    half_open = int(np.count_nonzero(waiting))
    ages = columns.ages_s if half_open == len(waiting) else columns.ages_s[waiting]
    sources = _sources(columns, waiting, half_open, ages, top)
    kept = {} if before is None else _unchanged(sample, columns, before)
    views = _listener_views(sample, columns, is_deferred, deferring, retries, cap_s, kept)
    same = before is not None and len(kept) == len(views) == len(before.views)
    return Model(
        sample=sample,
        half_open=sum(v.half_open for v in views) if sample.depths else half_open,
        deferred=len(waiting) - half_open,
        full=sample.full,
        orphans=int(np.count_nonzero((columns.group_of == join.NONE) & waiting)),
        oldest_s=float(ages.max()) if half_open else 0.0,
        arrivals_per_s=int(np.count_nonzero(ages < 1.0)),
        retries=retries,
        release_time_s=timing.release_time_s(retries, cap_s),
        listeners=before.listeners if before is not None and same else _fullest_first(views),
        sources=sources.top,
        distinct_sources=sources.distinct,
        ages_s=columns.ages_s,
        is_deferred=is_deferred,
        rates=rates,
        views=before.views if before is not None and same else tuple(views),
    )


def _fullest_first(views: list[ListenerView]) -> tuple[ListenerView, ...]:
    return tuple(sorted(views, key=lambda v: (-v.half_open, -v.accept_queue, v.port, v.address)))


def _unchanged(sample: Sample, columns: Columns, before: Model) -> dict[int, ListenerView]:
    """Group → its view in the Model before, of those groups that look as they did then."""
    old = before.sample
    if not sample.depths or not old.depths or sample.queues is None or old.queues is None:
        return {}
    alike = (
        len(sample.listeners) == len(old.listeners)
        and sample.settings == old.settings
        and sample.owners is old.owners
        and sample.options is old.options
        and sample.completeness.source == old.completeness.source
    )
    if not alike or len(before.views) != len(columns.groups):
        return {}
    if any((sample.listeners[name] != old.listeners[name]).any() for name in (*join.IDENTITY, "inode")):
        return {}
    changed = _differ(sample.listeners, old.listeners) | _differ(sample.queues, old.queues)
    if not changed.any():
        return dict(enumerate(before.views))
    rows = set(np.flatnonzero(changed).tolist())
    return {i: before.views[i] for i, group in enumerate(columns.groups) if rows.isdisjoint(group.rows)}


def only(model: Model, chosen: Filter) -> Model:
    """The Model of a Sample that was read with `chosen`, its listeners those that the filter can mean."""
    if not chosen.listeners:
        return model
    views = tuple(v for v in model.listeners if all(_meant(v, *one) for one in chosen.listeners))
    half_open = sum(v.half_open for v in views) if model.sample.depths else model.half_open
    certain = only(model.certain, chosen) if model.certain is not None else None
    return replace(model, listeners=views, half_open=half_open, certain=certain)


def tells(chosen: Filter) -> bool:
    """Whether the depths of the queues tell how many requests a filter lets through: it names whole listeners."""
    return not chosen.sources and all(a is None or a.is_unspecified for a, _ in chosen.listeners)


def _meant(view: ListenerView, address: Address | None, port: int) -> bool:
    if view.port != port:
        return False
    wild = address is None or address.is_unspecified or view.address in ("0.0.0.0", "::")
    return wild or view.address == str(address)


def _differ(rows: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of n records differ from the others in their place (n,)."""
    size = rows.dtype.itemsize
    differ: NDArray[np.bool_] = (_octets(rows, size) != _octets(others, size)).any(axis=1)
    return differ


def _octets(rows: NDArray[Any], size: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), size)


def _sources(
    columns: Columns, waiting: NDArray[np.bool_], half_open: int, ages: NDArray[np.float32], top: int
) -> Sources:
    if not half_open:
        return Sources()
    if half_open == len(waiting):
        return top_sources(columns.v4, columns.is_v4, columns.high, ages, top)
    high = columns.high[waiting[~columns.is_v4]]
    return top_sources(columns.v4[waiting], columns.is_v4[waiting], high, ages, top)


def _rates(sample: Sample, previous: Sample) -> dict[str, float]:
    seconds = sample.monotonic_s - previous.monotonic_s
    if seconds <= 0:
        return {}
    return {
        name: (value - previous.counters[name]) / seconds
        for name, value in sample.counters.items()
        if name in previous.counters
    }


def _by_group(group_of: NDArray[np.int32]) -> dict[int, NDArray[np.intp] | slice]:
    """Group → the places of its requests; all of them at once where only one group has any."""
    if not len(group_of):
        return {}
    first = int(group_of[0])
    if (group_of == first).all():
        return {first: slice(None)}
    order = np.argsort(group_of, kind="stable")
    edges = np.flatnonzero(np.diff(group_of[order])) + 1
    return {int(group_of[part[0]]): part for part in np.split(order, edges)}


def _listener_views(
    sample: Sample,
    columns: Columns,
    is_deferred: NDArray[np.bool_],
    deferring: frozenset[int],
    retries: int,
    cap_s: float,
    kept: Mapping[int, ListenerView],
) -> list[ListenerView]:
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


@dataclass(frozen=True, slots=True)
class _Queue:
    """The SYN queue of a group: what eBPF read of it (None: it did not), its retries as set and as in force, and how
    long it defers.
    """

    length: int | None
    young: int | None
    retries: int
    overridden: bool
    effective: int
    defer_s: int


def _queue(sample: Sample, group: join.Group, held: int, young: int, retries: int) -> _Queue:
    """held, young: the requests counted for the group, for where the queue itself could not be read."""
    rows = sample.listeners[list(group.rows)]
    queues = None if sample.queues is None else sample.queues[list(group.rows)]
    limits = rows["accept_queue_limit"].tolist()
    if queues is None or not queues["known"].all():
        known = [o for inode in rows["inode"].tolist() if (o := sample.options.get(inode)) is not None]
        override = next((o.retries for o in known if o.retries is not None), None)
        own = retries if override is None else override
        # The members of a group share alike, as far as can be told from outside.
        share = len(rows)
        effective = timing.effective_retries(own, held // share, young // share, sum(limits) // share)
        return _Queue(None, None, own, override is not None, effective, 0)
    each = [(q["syn_retries"].item() or retries, q["syn_queue"].item(), q["young"].item()) for q in queues]
    effective = min(timing.effective_retries(*one, limit) for one, limit in zip(each, limits, strict=True))
    return _Queue(
        int(queues["syn_queue"].sum()),
        int(queues["young"].sum()),
        each[0][0],
        bool(queues["syn_retries"][0]),
        effective,
        int(timing.started_s(int(queues["defer_accept"].max()))),
    )


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
        drops=int(rows["drops"].sum()),
        retries=queue.retries,
        overridden=queue.overridden,
        defer_accept_s=max((o.defer_accept_s for o in known), default=0) or queue.defer_s or int(deferring),
        release_time_s=timing.release_time_s(queue.retries, cap_s),
        effective_release_time_s=timing.release_time_s(queue.effective if exact else queue.retries, cap_s),
        defers=deferring or (False if queue.length is not None or len(known) == len(rows) else None),
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
