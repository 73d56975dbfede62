"""What a live screen shows, as a watch keeps it: namespaces with their last minute, and one listener in detail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.moments import Moment
from halfopen.core.model.prefixes import Prefix
from halfopen.core.model.sources import SourceView
from halfopen.core.policy.incidents import Incident
from halfopen.core.sample.workers import Workers
from halfopen.core.units import prefix
from halfopen.core.where import ListenerKey

# When the timer of the SYN-ACK runs out: the ages at which a client is sent another one.
AGE_EDGES_S: Final = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
# Ages that were read longer ago than that are not shown as those of now.
_AGED_S: Final = 1.5


class LiveSource(Struct, frozen=True):
    """A prefix that half-open connections come from. finished_per_s: handshakes from there, None where nothing counted
    them lately. aged_s: as `LiveNamespace.aged_s`.
    """

    source: SourceView
    finished_per_s: float | None = None
    aged_s: float = 0.0


class LiveNamespace(Struct, frozen=True, eq=False):
    """One namespace: the last reading without its requests, the last verdict, the incidents that are on.

    whole: the last reading of every request; ages, retransmits and sources are from there. minute: the moments of the
    last minute, the latest last. trouble: why the last reading failed; empty where it did not.
    """

    model: Model
    verdict: Verdict
    incidents: tuple[Incident, ...] = ()
    whole: Model | None = None
    minute: tuple[Moment, ...] = ()
    sources: tuple[LiveSource, ...] = ()
    trouble: str = ""

    @property
    def aged_s(self) -> float:
        """How long before the last reading ages and sources were read; 0 where that is about the same time."""
        return aged_s(self.model, self.whole)

    def view(self, key: ListenerKey | None) -> ListenerView | None:
        """The listener of that key; None where it is gone."""
        return next((view for view in self.model.listeners if view.key == key), None)


class LiveDetails(Struct, frozen=True, eq=False):
    """One listener in detail. ages: half-open connections in each part of `AGE_EDGES_S`, the last one open; None: not
    read yet. handshakes: those that finished while it was looked at; None: not counted, for the reason `uncounted`.
    workers: the processes that hold it.
    """

    inode: int
    key: ListenerKey
    ages: tuple[int, ...] | None = None
    handshakes: Handshakes | None = None
    uncounted: str = ""
    workers: Workers | None = None


class ReplayedAt(Struct, frozen=True):
    """Where a replay of an incident is: its id, the reading `at` of `count` (0 is the first), played this many times as
    fast. whole: every reading is there, else more are being read. since_s, until_s: of the first and the last one,
    began_s: of the first sign. ends: the last reading is shown. told: what was told and done on that reading, in lines.
    """

    incident: str
    at: int
    count: int
    speed: float
    whole: bool
    since_s: float
    until_s: float
    began_s: float
    ends: bool = False
    told: tuple[str, ...] = ()


class Live(Struct, frozen=True, eq=False):
    """All of it. wall_s: of the last reading, None before the first. trouble: of the watch itself. replayed: None: it
    is seen as it happens. reader: who reads the kernel, "" for this process.
    """

    spaces: tuple[LiveNamespace, ...] = ()
    wall_s: float | None = None
    interval_s: float = 1.0
    details: LiveDetails | None = None
    trouble: str = ""
    replayed: ReplayedAt | None = None
    reader: str = ""

    def space(self, inode: int | None) -> LiveNamespace | None:
        """The namespace of that inode; None where it is not watched."""
        return next((one for one in self.spaces if one.model.sample.where.inode == inode), None)


def aged_s(model: Model, whole: Model | None) -> float:
    """How long before a reading of depths the last one of every request was; 0 where that is about the same time, and
    where there are no ages to show.
    """
    if whole is None or not model.sample.depths or not model.half_open:
        return 0.0
    seconds = model.sample.monotonic_s - whole.sample.monotonic_s
    return seconds if seconds > _AGED_S else 0.0


def with_ages(model: Model, whole: Model | None) -> Model:
    """A reading of depths alone with the ages and retransmits of the last reading of every request, and without those
    that had answered then: the kernel counts them in the depth of the queue.
    """
    held = model.half_open + model.deferred
    if whole is None or not model.sample.depths or not held:
        return model
    old, seconds = {view.key: view for view in whole.listeners}, aged_s(model, whole)
    views = tuple(_aged(view, old.get(view.key), seconds) for view in model.listeners)
    answered = sum(view.deferred for view in views)
    half_open = max(0, held - answered)
    return replace(
        model, half_open=half_open, deferred=answered, oldest_s=whole.oldest_s, listeners=views, sources=whole.sources
    )


def _aged(view: ListenerView, old: ListenerView | None, seconds: float) -> ListenerView:
    held = view.half_open + view.deferred
    if old is None or not held:
        return view
    deferred = min(max(old.deferred, view.deferred), held)
    return replace(
        view,
        half_open=held - deferred,
        deferred=deferred,
        defers=old.defers,
        ages=old.ages,
        retransmits=old.retransmits,
        may_have_answered=old.may_have_answered,
        aged_s=seconds,
    )


def ages_by_listener(model: Model) -> dict[ListenerKey, tuple[int, ...]] | None:
    """How many half-open connections of each listener are of each age (`AGE_EDGES_S`), for those that have any; None
    where ages were not read.
    """
    columns = model.columns
    if model.sample.depths or columns is None:
        return None
    mine = ~model.is_deferred & (columns.group_of >= 0) & (columns.group_of < len(model.views))
    part = np.searchsorted(np.array(AGE_EDGES_S), columns.ages_s[mine], side="right") - 1
    places = columns.group_of[mine].astype(np.int64) * len(AGE_EDGES_S) + part
    counts = np.bincount(places, minlength=len(model.views) * len(AGE_EDGES_S)).reshape(-1, len(AGE_EDGES_S))
    return {model.views[i].key: tuple(counts[i].tolist()) for i in np.flatnonzero(counts.any(axis=1))}


def ages_of(model: Model, key: ListenerKey) -> tuple[int, ...] | None:
    """The same of one listener; None where it has none, or ages were not read."""
    found = ages_by_listener(model)
    return None if found is None else found.get(key)


def finished_by_prefix(model: Model) -> Mapping[str, float] | None:
    """Handshakes a second from each prefix that half-open connections come from; None where nothing counted them."""
    arrived, completers = model.arrived, model.completers
    if arrived is None or completers is None:
        return None
    return {s.prefix: arrived.all.per_s(completers.now_within(_prefix_of(s.prefix))) for s in model.sources}


def _prefix_of(text: str) -> Prefix:
    network = prefix(text)
    first = int(network.network_address)
    return Prefix(network.version, first if network.version == 4 else first >> 64, network.prefixlen)
