"""The Model: everything shown of a Sample, computed from it alone (and from the one before it, for rates)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.model import answered, join, timing
from halfopen.core.model.columns import Columns, columns_of, settle, within_release_time
from halfopen.core.model.distinct import distinct
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES, ListenerView, views_of
from halfopen.core.model.sources import Sources, SourceView, top_sources
from halfopen.core.model.unchanged import all_unchanged, unchanged
from halfopen.core.sample import Head, Requests, Sample
from halfopen.core.sample.before_tcp import BeforeTcp

if TYPE_CHECKING:
    from halfopen.core.model.arrived import Arrived, Completers


class Model(Struct, frozen=True, eq=False):
    """The state of one namespace.

    half_open, deferred: request sockets by kind (deferred ones finished their handshake). may_have_answered: of
    half_open, those of whom that cannot be told, because of `doubt`, without eBPF; is_doubtful (N,) says which, and
    certain is the Model without them (None: there are none). full: sockets in true SYN_RECV. orphans: half-open ones
    whose listener is gone. arrivals_per_s: half-open ones that came in the last second. listeners: all, the fullest
    first. ages_s (N,) and is_deferred (N,) go with sample.requests. With a Sample of depths only, half_open is what the
    queues hold, and there are no ages, sources or deferred ones. rates: counters per second since the previous Sample;
    None without one. arrived: what came between two looks, by listener and source; None where nothing counted it.
    completers: sources that are known to finish handshakes. views: the listeners in join order. ages_from: what the
    ages are computed from, "synack" (the kernel's time of the first SYN-ACK), "timeouts" or "retransmits". columns: of
    the N requests; None: not kept.
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
    ages_s: NDArray[np.float32]
    is_deferred: NDArray[np.bool_]
    rates: Mapping[str, float] | None = None
    views: tuple[ListenerView, ...] = ()
    may_have_answered: int = 0
    doubt: str = ""
    is_doubtful: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    certain: Model | None = None
    ages_from: str = "retransmits"
    columns: Columns | None = None
    arrived: Arrived | None = None
    completers: Completers | None = None

    def doubtful(self, at: NDArray[np.intp] | slice) -> NDArray[np.bool_]:
        """`is_doubtful` of n of its requests, by their places (n,) or as a slice; shape (n,)."""
        return self.is_doubtful[at] if len(self.is_doubtful) else np.zeros(len(self.is_deferred), dtype=bool)[at]

    def bare(self) -> Model:
        """The Model with nothing in it by the request, to be kept where a million would weigh."""
        return replace(
            self,
            sample=self.sample.bare(),
            ages_s=np.empty(0, dtype=np.float32),
            is_deferred=np.empty(0, dtype=bool),
            is_doubtful=np.empty(0, dtype=bool),
            certain=None,
            columns=None,
        )


def build(
    sample: Sample,
    previous: Head | None = None,
    *,
    columns: Columns | None = None,
    top: int = 10,
    before: Model | None = None,
    calm: answered.Calm | None = None,
) -> Model:
    """Compute the Model of a Sample, with rates against `previous` and the `top` sources by prefix.

    columns: derived while the Sample was read; None: derived now from its rows. before: a Model of the same namespace;
    its listeners are taken over as far as nothing of theirs changed (the very same objects): where both are of depths
    only, all of these, else those at which nothing waits. calm: what earlier readings tell of ACKs that were ignored.
    """
    rates = _rates(sample, previous) if previous is not None else None
    if before is not None and all_unchanged(sample, before.sample):
        return replace(before, sample=sample, rates=rates)
    columns = columns_of(sample) if columns is None else columns
    is_deferred, deferring = settle(columns, sample)
    if not columns.exact:
        columns = within_release_time(columns, sample, is_deferred, DEFAULT_SYNACK_RETRIES)
    model = _with_arrived(_build(sample, columns, is_deferred, deferring, top, rates, before), columns.groups)
    if columns.exact or not len(is_deferred):
        return model
    doubt = answered.doubt_of(sample, columns.groups, calm)
    if not doubt.any:
        return model
    is_doubtful = doubt.of_groups(columns.group_of, answered.earliest_s(columns.ages_s, sample.monotonic_s))
    is_doubtful &= ~is_deferred
    if not is_doubtful.any():
        return model
    certain = _build(sample, columns.pick(~is_doubtful), is_deferred[~is_doubtful], deferring, top, rates, model)
    why = answered.why(doubt.reason(place) for place in distinct(columns.group_of[is_doubtful]).tolist())
    return _with_doubt(model, certain, is_doubtful, why)


# Parts of a Sample from which nothing of this is known.
_BY_THEMSELVES: Final = (Requests, BeforeTcp)


def _with_arrived(model: Model, groups: list[join.Group]) -> Model:
    """The Model with what arrived, and who finishes, as far as its Sample has that."""
    sample = model.sample
    if all(isinstance(part, _BY_THEMSELVES) for part in sample.parts):
        return model
    from halfopen.core.model.arrived import arrived_of, completers_of
    from halfopen.core.sample.arrivals import Arrivals
    from halfopen.core.sample.peers import Peers

    if sample.part(Arrivals) is None and sample.part(Peers) is None:
        return model
    arrived = arrived_of(sample, groups)
    return replace(model, arrived=arrived, completers=completers_of(sample, arrived))


def with_parts(model: Model, *parts: object) -> Model:
    """A Model of the same Sample with further parts: what arrived since it was read, and who finishes."""
    sample = replace(model.sample, parts=(*model.sample.parts, *parts))
    return _with_arrived(replace(model, sample=sample), join.groups(sample.listeners))


def _with_doubt(model: Model, certain: Model, is_doubtful: NDArray[np.bool_], why: str) -> Model:
    """The Model in which some requests are in doubt.

    certain: the Model of the others. is_doubtful (N,): which may have answered; why: in words.
    """
    pairs = zip(model.views, certain.views, strict=True)
    views = [replace(v, may_have_answered=n) if (n := v.half_open - silent.half_open) else v for v, silent in pairs]
    return replace(
        model,
        listeners=fullest_first(views),
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
    """The Model of a Sample whose N requests are `columns`. is_deferred (N,): which of them finished their handshake.
    top: how many source prefixes are named. before: the Model of the reading before, whose views are taken over where
    nothing changed.
    """
    cap_s = timing.RTO_MAX_S
    retries = sample.settings.get("tcp_synack_retries", DEFAULT_SYNACK_RETRIES)
    waiting = ~is_deferred
    half_open = int(np.count_nonzero(waiting))
    ages = columns.ages_s if half_open == len(waiting) else columns.ages_s[waiting]
    sources = _sources(columns, waiting, half_open, ages, top)
    kept = {} if before is None else unchanged(sample, columns, before.sample, before.views)
    views = views_of(sample, columns, is_deferred, deferring, retries, cap_s, kept)
    same = before is not None and len(kept) == len(views) == len(before.views)
    held = half_open
    if sample.depths:
        # A Model of every request also counts those that are at no listener.
        known = before is not None and same and before.sample.depths
        held = before.half_open if before is not None and known else sum(v.half_open for v in views)
    return Model(
        sample=sample,
        half_open=held,
        deferred=len(waiting) - half_open,
        full=part.full if (part := sample.part(Requests)) is not None else 0,
        orphans=int(np.count_nonzero((columns.group_of == join.NONE) & waiting)),
        oldest_s=float(np.max(ages)) if half_open else 0.0,
        arrivals_per_s=int(np.count_nonzero(ages < 1.0)),
        retries=retries,
        release_time_s=timing.release_time_s(retries, cap_s),
        listeners=before.listeners if before is not None and same else fullest_first(views),
        sources=sources.top,
        distinct_sources=sources.distinct,
        ages_s=columns.ages_s,
        is_deferred=is_deferred,
        rates=rates,
        views=before.views if before is not None and same else tuple(views),
        ages_from="synack" if columns.exact else "timeouts" if columns.timeouts else "retransmits",
        columns=columns,
    )


def fullest_first(views: Iterable[ListenerView]) -> tuple[ListenerView, ...]:
    """Listeners in the order of a Model."""
    return tuple(sorted(views, key=lambda v: (-v.half_open, -v.accept_queue, v.port, v.address)))


def _sources(
    columns: Columns, waiting: NDArray[np.bool_], half_open: int, ages: NDArray[np.float32], top: int
) -> Sources:
    """The sources of the half-open requests. waiting (N,): which of the N requests these are; ages (half_open,):
    theirs.
    """
    if not half_open:
        return Sources()
    if half_open == len(waiting):
        return top_sources(columns.v4, columns.is_v4, columns.high, ages, top)
    high = columns.high[waiting[~columns.is_v4]]
    return top_sources(columns.v4[waiting], columns.is_v4[waiting], high, ages, top)


def _rates(sample: Head, previous: Head) -> dict[str, float]:
    seconds = sample.monotonic_s - previous.monotonic_s
    if seconds <= 0:
        return {}
    if sample.counters is previous.counters:
        return dict.fromkeys(sample.counters, 0.0)
    return {
        name: (value - previous.counters[name]) / seconds
        for name, value in sample.counters.items()
        if name in previous.counters
    }
