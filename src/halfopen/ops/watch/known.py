"""The state that a watch keeps of a namespace between readings, and the verdict on each reading."""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.findings import ways as _ways_back
from halfopen.core.findings.at_rest import at_rest, verdict_holds
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.held import Named, held, names_a_cause, undecided
from halfopen.core.findings.judging import judged
from halfopen.core.findings.lost import LostRates, lost_rates
from halfopen.core.findings.sources import SOME
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model import answered
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.waiting import holders
from halfopen.core.sample import Sample
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.guard import Guards
from halfopen.core.sample.ways import WaysBack
from halfopen.core.sample.workers import Workers
from halfopen.core.where import Namespace
from halfopen.linux.netns import Netns
from halfopen.read import before_tcp, ways, workers

# An idle namespace, whose findings depend only on settings, is judged again after the first time if anything that a
# rule reads has changed, and after the second in any case: all rules take 40 ms for a thousand listeners.
_IDLE_S: Final = 60.0
_AT_REST_S: Final = 600.0
# The largest share of the time for looking at processes on whose sockets connections wait.
_WORKERS_SHARE: Final = 0.01
# The same for reading losses before TCP, which takes a third of a millisecond each time.
_LOST_SHARE: Final = 0.002
# How long routes are reused: a repaired route is noticed after this time.
_WAYS_S: Final = 5.0
_NEARLY_FULL: Final = 0.9
# Rates over a longer time than this do not describe the present.
_LOST_S: Final = 90.0
_EVENTS: Final = ("ListenDrops", "ListenOverflows", "SyncookiesSent", "TCPReqQFullDrop", "IPReversePathFilter")


class Known(Struct):
    """previous: the last reading without its requests; last: the Model of that; before: the Model of the last one,
    whose views are taken over. whole_again_at_s: when every request may be read again. calm: what readings told of
    ignored ACKs. busy, judged_at_s: whether there was anything to judge, and when. named: the last verdict that
    named a cause; undecided: the last reading alone named none. ways: the routes back to clients that ask again, and
    when they are read again. workers: what the processes did at whose sockets connections waited, and when they may be
    looked at again; lost: the same of packets that are lost before TCP. verdict: the last one. rest: the reading that
    it is on, where that showed nothing of the moment; looked_at_s: when the verdict was last found to hold.
    """

    previous: Sample
    last: Model | None = None
    before: Model | None = None
    whole_again_at_s: float = 0.0
    calm: answered.Calm | None = None
    busy: bool = False
    named: Named | None = None
    undecided: bool = False
    ways: WaysBack | None = None
    ways_again_at_s: float = 0.0
    judged_at_s: float = float("-inf")
    workers: Workers | None = None
    workers_again_at_s: float = 0.0
    lost: BeforeTcp | None = None
    lost_again_at_s: float = 0.0
    verdict: Verdict | None = None
    rest: Model | None = None
    looked_at_s: float = float("-inf")
    # The listeners of which it is known whether something waits: a thousand idle ones are the same objects at each
    # reading.
    _listeners: tuple[ListenerView, ...] = ()
    _something_waits: bool = False

    @property
    def where(self) -> Namespace:
        """The namespace, with the name of its last reading."""
        return self.previous.where

    def judged(self, model: Model) -> tuple[Model, Verdict | None]:
        """The verdict on a reading, compared with the one before, and the reading with all parts that were judged. None
        if there is nothing to judge, or only depths were read although a queue holds requests.

        A verdict without a cause is replaced by the last one with a cause, as long as that still holds.
        """
        if model.sample.depths and (model.half_open or model.deferred):
            return model, None
        busy = self._is_busy(model)
        due = model.sample.monotonic_s >= max(self.judged_at_s, self.looked_at_s) + _IDLE_S
        if not (busy or self.busy or due):
            return model, None
        model = self._with_lost(self._with_workers(model))
        resting = not busy and self._rests(model)
        if resting and self._holds(model):
            self.looked_at_s, self.busy = model.sample.monotonic_s, self._losing()
            return model, None
        evidence = Evidence(model, self.last)
        verdict = judged(evidence)
        if any(finding.id == "synacks-lost" for finding in verdict.findings):
            model = self._with_ways(model)
            evidence = Evidence(model, self.last)
            verdict = judged(evidence)
        self.undecided = undecided(verdict)
        if names_a_cause(verdict):
            self.named = Named(verdict, model.sample.monotonic_s)
        kept = held(self.named, evidence, verdict)
        self.rest = model.bare() if resting and kept is verdict else None
        return model, kept

    def _with_ways(self, model: Model) -> Model:
        """The Sample with the routes back to clients that retransmit their SYN, which are read now and then."""
        now, where = time.monotonic(), model.sample.where
        if now >= self.ways_again_at_s:
            asked, ns = _ways_back.wanted(model), Netns(where.name, where.inode, where.path, where.lives_in)
            try:
                self.ways = ns.run(lambda: ways.read(asked)) if asked else None
            except HalfopenError:
                self.ways = None  # the verdict depends on which clients retransmit
            self.ways_again_at_s = now + _WAYS_S
        return model if self.ways is None else replace(model, sample=model.sample.with_part(self.ways))

    def _with_workers(self, model: Model) -> Model:
        """The Sample with the activity of processes on whose sockets connections wait, if there is time for it."""
        began = time.monotonic()
        pids = holders(model) if began >= self.workers_again_at_s else []
        if not pids:
            return model
        earlier = None if self.workers is None else replace(self.workers, earlier=None)
        self.workers = workers.read(pids, earlier)
        now = time.monotonic()
        self.workers_again_at_s = now + (now - began) * (1 / _WORKERS_SHARE - 1)
        return replace(model, sample=model.sample.with_part(self.workers))

    def _with_lost(self, model: Model) -> Model:
        """The Sample with the losses before TCP, if there is time for it; no queue of a listener shows them."""
        began, where = time.monotonic(), model.sample.where
        if began < self.lost_again_at_s:
            return model if self.lost is None else replace(model, sample=model.sample.with_part(self.lost))
        earlier = self.lost
        if earlier is not None:
            earlier = replace(earlier, earlier=None) if began - earlier.monotonic_s <= _LOST_S else None
        try:
            ns = Netns(where.name, where.inode, where.path, where.lives_in)
            self.lost = ns.run(lambda: before_tcp.read(earlier))
        except HalfopenError:
            return model  # the namespace is gone
        now = time.monotonic()
        self.lost_again_at_s = now + (now - began) * (1 / _LOST_SHARE - 1)
        return replace(model, sample=model.sample.with_part(self.lost))

    def keep(self, model: Model, verdict: Verdict | None) -> None:
        """Keep a reading after the decision on it."""
        bare, guards = model.bare(), model.sample.part(Guards)
        # The next verdict needs no part of this reading but the counts of guards.
        self.last = bare if guards is None else replace(bare, sample=bare.sample.with_part(guards))
        self.previous = self.last.sample
        if verdict is not None:
            self.verdict = verdict
            self.judged_at_s, self.busy = model.sample.monotonic_s, self._is_busy(model) or self._losing()

    def _rests(self, model: Model) -> bool:
        """Whether a reading shows nothing that is going on."""
        lost = LostRates() if self.lost is None else lost_rates(self.lost)
        return not self._table_nearly_full() and at_rest(model, lost)

    def _holds(self, model: Model) -> bool:
        """Whether the last verdict still holds for a reading at rest, so that no rule need be evaluated."""
        soon = model.sample.monotonic_s < self.judged_at_s + _AT_REST_S
        return soon and self.rest is not None and verdict_holds(self.rest, model)

    def _table_nearly_full(self) -> bool:
        table = None if self.lost is None else self.lost.conntrack
        return table is not None and table.count >= _NEARLY_FULL * table.limit > 0

    def _losing(self) -> bool:
        """Whether packets are being lost before TCP, or will be soon: the next reading is then judged even if TCP is
        idle.
        """
        if self.lost is None:
            return False
        rates = lost_rates(self.lost)
        return self._table_nearly_full() or bool(rates.conntrack_drops or rates.missed or rates.softnet_dropped)

    def _is_busy(self, model: Model) -> bool:
        rates = model.rates or {}
        if model.half_open >= SOME or any(rates.get(name) for name in _EVENTS):
            return True
        if model.listeners is not self._listeners:
            self._listeners = model.listeners
            self._something_waits = any(view.accept_queue or view.deferred for view in model.listeners)
        return self._something_waits
