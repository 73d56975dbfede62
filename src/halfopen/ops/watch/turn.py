"""One reading of one namespace by a watch: compute, let the policy decide, carry out, report."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from threading import Event
from typing import Final, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model import answered
from halfopen.core.model.columns import Columns
from halfopen.core.model.depths import without_answered
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.policy.actions import EndGuard, GuardWithheld, Protect, Release, Withheld
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.counts import CONNECTIONS, ListenerCounts, Subject
from halfopen.core.policy.events import Gone, Seen, TakeUp
from halfopen.core.policy.incidents import Incident, Incidents
from halfopen.core.policy.policy import Action, LookAgain, Missing, Policy, ReadMore, State, step
from halfopen.core.policy.readings import counts_of, gained
from halfopen.core.policy.silence import Silence
from halfopen.core.reports import Decided, Did, Glance, Noticed, Reading, Report, TakenUp, Trouble
from halfopen.core.sample import Completeness, Requests, Sample
from halfopen.core.where import Namespace
from halfopen.linux.identity import unentered
from halfopen.linux.netns import Netns
from halfopen.ops.executor import Executor
from halfopen.ops.release.release import matching
from halfopen.ops.watch.clients import ClientsOf
from halfopen.ops.watch.connections import ConnectionLooks
from halfopen.ops.watch.finishing import Finishing
from halfopen.ops.watch.guard_keeper import GuardKeeper
from halfopen.ops.watch.known import Known
from halfopen.ops.watch.reading import NamespaceReader

# The largest share of a processor for reading every request; in between, only the depths of the queues are read.
_CENSUS_SHARE: Final = 0.05
# The same while a cause is being looked for.
_DECIDING_SHARE: Final = 0.2
# The largest share of the time, much of which is waiting for a processor on a busy machine.
_CENSUS_TIME: Final = 0.5
# The largest share of an interval for a release, which the next one continues, so that the interval is kept under a
# flood.
_RELEASE_SHARE: Final = 0.5


class _Began(NamedTuple):
    """When a reading began: monotonic time, and processor time of this process."""

    at_s: float
    used_s: float

    @staticmethod
    def now() -> _Began:
        return _Began(time.monotonic(), time.process_time())

    def rest_s(self, share: float) -> float:
        """How long to wait after the reading, s, for it to take this share of a processor."""
        taken_s, used_s = time.monotonic() - self.at_s, time.process_time() - self.used_s
        return max(used_s * (1 / share - 1), taken_s * (1 / _CENSUS_TIME - 1))


class NamespaceTurns(Struct):
    """The turns of all namespaces, and what is known about each.

    policy, interval_s: as they are now; a reload sets others. reader: reads a namespace. top: how many source prefixes
    a Model describes. stop: ends a release early. finishing: handshakes that finish, counted in one namespace, or None.
    earlier: the incidents that an earlier watch did not see end, by namespace, until it is read for the first time.
    connections: the looks at open and closing ones. incident_is_on: one about half-open connections.
    guards: those that the policy armed.
    """

    policy: Policy
    interval_s: float
    executor: Executor
    reader: NamespaceReader
    top: int
    stop: Event
    finishing: Finishing | None
    connections: ConnectionLooks
    guards: GuardKeeper
    state: State = State()
    # By inode, which is unique at any time; a reading shows whether it still belongs to the same namespace.
    known: dict[int, Known] = field(default_factory=dict)
    # The namespaces for which the policy asked for another reading within a fraction of a second.
    closer: list[Netns] = field(default_factory=list)
    incident_is_on: bool = False
    earlier: dict[Namespace, tuple[Incident, ...]] = field(default_factory=dict)
    _incidents: Incidents = field(default_factory=Incidents)
    _clients: ClientsOf = field(default_factory=ClientsOf)

    def take(self, ns: Netns, *, closer: bool = False) -> Iterator[Report]:
        """Read a namespace and do what follows. closer: an extra reading within an interval, reported if it decides.

        Raises: HalfopenError if it cannot be read.
        """
        began = _Began.now()
        known, previous, sample, columns = yield from self._recognised(ns)
        model = self._model(known, sample, columns, previous, began)
        if previous is None:
            yield from self._take_up(model)
        fresh = not closer and self.policy.watched.empty and self.connections.look(model, self.reader.read_by)
        model, verdict, state, actions = self._decide(ns, known, model, previous)
        known.keep(model, verdict)
        self._clients.count(known.where.inode, model)
        self.state = state
        self._count(known, model, verdict)
        lasting = self.connections.of(known.where.inode)
        why = {CONNECTIONS: lasting.verdict(model)}
        tellings = [(a, why.get(a.listener, verdict)) for a in actions if isinstance(a, Telling)]
        told = [(a, cause, self._incidents.told(model, a, cause)) for a, cause in tellings]
        on = self._incidents.seen(model, state.incidents(known.where), lasting.counts.waiting)
        # Trouble of connections does not lift `max_cpu`, as a leak may last for days.
        self.incident_is_on |= not all(one.about_connections for one in on)
        if verdict is not None or fresh:
            verdict = lasting.added(model, verdict or known.verdict or verdict_on(model, ()))
        if not closer or told:
            yield Reading(model, verdict, time.monotonic() - began.at_s, on, known.calm)
        else:
            yield Glance(model, verdict, known.calm)
        now = {one.id: one for one in on}
        for telling, cause, one in told:
            yield Decided(model, telling, cause, now.get(one.id, one))
        yield from self._carry_out(ns, known, model, actions)

    def _recognised(self, ns: Netns) -> Generator[Report, None, tuple[Known, Sample | None, Sample, Columns | None]]:
        """A reading, what is known about its namespace, and the reading before (None: this is the first)."""
        known = self.known.get(ns.inode)
        sample, columns = self._read(ns, None if known is None else known.previous)
        if known is not None and known.where != sample.where:
            # The inode belonged to a namespace that is gone, and was given to another one.
            yield from self.end(ns.inode)
            known, (sample, columns) = None, self._read(ns, None)
        if known is not None:
            return known, known.previous, sample, columns
        inode = sample.where.inode  # not always ns.inode: the path may lead elsewhere by now
        known = self.known.get(inode)
        if known is not None and known.where != sample.where:
            yield from self.end(inode)
            known = None
        return known or self.known.setdefault(inode, Known(sample.bare())), None, sample, columns

    def _carry_out(self, ns: Netns, known: Known, model: Model, actions: tuple[Action, ...]) -> Iterator[Report]:
        for action in actions:
            if isinstance(action, Release):
                yield self._release(ns, known, action)
            elif isinstance(action, Withheld):
                yield from self._note(model, action)
            elif isinstance(action, Protect):
                self.guards.arm(action, ns)
            elif isinstance(action, EndGuard):
                self.guards.end(action)
            elif isinstance(action, GuardWithheld):
                self.guards.note(action)
            elif isinstance(action, LookAgain):
                self.closer.append(ns)

    def silence(self, silences: tuple[Silence, ...]) -> None:
        """Set the silences in force."""
        self._incidents.silences = silences

    def identity(self, ns: Netns) -> Namespace:
        """The identity of a namespace from its last reading, with its present name; without a reading, by its inode."""
        known = self.known.get(ns.inode)
        if known is None:
            return unentered(ns)
        where = known.where
        if (where.name, where.path, where.lives_in) == (ns.name, ns.path, ns.lives_in):
            return where
        return replace(where, name=ns.name, path=ns.path, lives_in=ns.lives_in)

    def end(self, inode: int) -> Iterator[Report]:
        """Forget a namespace that is gone; alarms there end."""
        known = self.known.pop(inode)
        self.reader.forget(known.where.inode)
        self._clients.forget(known.where.inode)
        self.connections.forget(known.where.inode)
        self.guards.forget(known.where)
        self.state, actions = step(self.state, Gone(known.where, time.monotonic()), self.policy)
        model = build(replace(known.previous, wall_s=time.time(), parts=(Requests(),))) if actions else None
        for action in actions:
            if model is not None and isinstance(action, Telling):
                yield Decided(model, action, None, self._incidents.told(model, action, None))
        self._incidents.forget(known.where)

    def _take_up(self, model: Model) -> Iterator[Report]:
        """Take up the incidents of an earlier watch, at the first reading of a namespace."""
        mine = self.earlier.pop(model.sample.where, ())
        if mine:
            now_s, wall_s = model.sample.monotonic_s, model.sample.wall_s
            self.state, _ = step(self.state, TakeUp(model.sample.where, now_s, wall_s, mine), self.policy)
            yield TakenUp(model, self._incidents.take_up(mine, now_s, wall_s))

    def _note(self, model: Model, action: Withheld) -> Iterator[Report]:
        """Record a release that is not carried out, and report it, also if it cannot be recorded."""
        try:
            self.executor.note(action)
        except HalfopenError as e:
            yield Trouble(action.release.netns, e, action.release.where)
        yield Noticed(model, action)

    def _decide(
        self, ns: Netns, known: Known, model: Model, previous: Sample | None
    ) -> tuple[Model, Verdict | None, State, tuple[Action, ...]]:
        """The policy's decision on a reading, and the reading, with the parts that the policy asked for."""
        of = self.finishing
        finished_at = None if of is None or of.inode != known.where.inode else of.since(model)
        model, verdict, seen = self._seen(known, model, finished_at)
        while True:
            state, actions = step(self.state, seen, self.policy)
            missing = {action.missing for action in actions if isinstance(action, ReadMore)}
            if not missing:
                return model, verdict, state, actions
            if Missing.REQUESTS in missing:
                began = _Began.now()
                sample, columns = self._read(ns, previous, whole=True)
                if sample.where != seen.where:
                    raise UnknownTarget(f"network namespace {ns.name} was replaced by another one while it was read")
                model = self._model(known, sample, columns, previous, began)
                model, verdict, seen = self._seen(known, model, finished_at)
            if Missing.MATCHING in missing:
                asked = [release for action in actions if isinstance(action, ReadMore) for release in action.releases]
                counted = {release: self._matching(ns, known, release) for release in asked}
                seen = replace(seen, matching={**seen.matching, **counted})

    def _read(self, ns: Netns, previous: Sample | None, *, whole: bool = False) -> tuple[Sample, Columns | None]:
        return self.reader.read(ns, previous, self.policy.watched, whole=whole)

    def _matching(self, ns: Netns, known: Known, release: Release) -> int | str:
        """How many a release would find, or why that cannot be told. Raises: as `matching`, for one that spares nobody
        by what they did."""
        if release.sparing.clients_s is None:
            return matching(release, ns, self.stop, known.calm)
        try:
            return matching(release, ns, self.stop, known.calm, self._clients.of(ns))
        except HalfopenError as e:
            return e.line()

    def _count(self, known: Known, model: Model, verdict: Verdict | None) -> None:
        """Count arrivals and finished handshakes while there is something to judge that is not decided."""
        decided = None if verdict is None or model.arrived is None else not known.undecided
        alarmed, counting = self.state.alarmed(known.where, rising=True), self.reader.counting
        counting.after(known.where.inode, time.monotonic(), busy=known.busy, alarmed=alarmed, decided=decided)

    def _seen(
        self, known: Known, model: Model, finished_at: Mapping[Subject, int] | None
    ) -> tuple[Model, Verdict | None, Seen]:
        where = model.sample.where
        model, verdict = known.judged(model)
        wanted = self.state.wanted(where)
        some = not self.policy.watched.empty
        counts = counts_of(model, known.last, verdict, wanted, some=some)
        lasting = self.connections.of(where.inode)
        if CONNECTIONS in wanted and not some and not self.connections.settled(where.inode):
            # An incident that an earlier watch began goes on until looks at connections show more.
            counts[CONNECTIONS] = ListenerCounts(critical=True)
        elif lasting.alarming or CONNECTIONS in wanted:
            counts[CONNECTIONS] = lasting.counts
        seen = Seen(
            where=where,
            at_s=model.sample.monotonic_s,
            # A reading of depths cannot show whether connections that had answered are still there: count them as well.
            half_open=model.half_open + (model.deferred if model.sample.depths else 0),
            whole=not model.sample.depths,
            may_read_whole=time.monotonic() >= known.whole_again_at_s,
            degraded=_degraded(model.sample.completeness),
            counts=counts,
            finished=gained("PassiveOpens", model, known.last),
            finished_at=finished_at,
            release_s=max(1.0, model.release_time_s),
            verdict=verdict,
            wall_s=model.sample.wall_s,
            lasting=lasting.verdict(model) if lasting.alarming else None,
            guard=self.guards.standing(where),
            guardable=self._guardable(model),
        )
        return model, verdict, seen

    def _guardable(self, model: Model) -> bool:
        guard = self.policy.protect
        return guard is not None and any(guard.concerns(view.address, view.port) for view in model.views)

    def _release(self, ns: Netns, known: Known, action: Release) -> Did:
        within_s = self.interval_s * _RELEASE_SHARE
        with self.reader.apart.measured():
            clients = None if action.sparing.clients_s is None else self._clients.of(ns)
            outcome = self.executor.execute(
                action, ns, stop=self.stop, within_s=within_s, calm=known.calm, clients=clients
            )
        self.state, _ = step(self.state, outcome, self.policy)
        return Did(outcome, self._incidents.did(outcome, time.time()))

    def _model(
        self, known: Known, sample: Sample, columns: Columns | None, previous: Sample | None, began: _Began
    ) -> Model:
        """What a sample, whose reading began then, shows of what is watched."""
        now = time.monotonic()
        # The first reading took longer, as it loaded programs.
        if not sample.depths and previous is not None:
            share = _DECIDING_SHARE if self.reader.counting.active(known.where.inode) else _CENSUS_SHARE
            known.whole_again_at_s = now + began.rest_s(share)
        # A reading tells of what came after it; one that shows the very same tells nothing new.
        old = known.previous
        if known.calm is None or sample.listeners is not old.listeners or sample.counters is not old.counters:
            known.calm = answered.calm(sample.listeners, sample.counters, now, known.calm)
        model = build(sample, previous, columns=columns, top=self.top, before=known.before, calm=known.calm)
        model = without_answered(model, known.before)
        known.before = model if sample.depths else _without_requests(model)
        return only(model, self.policy.watched)


def _without_requests(model: Model) -> Model:
    """The Model without its requests, to compare with; it still says that every request was read."""
    return replace(model.bare(), sample=model.sample.bare().with_part(Requests()))


def _degraded(of: Completeness) -> str:
    """Why a reading must not be acted on, or "". Requests that it skipped are no reason, as a release looks again."""
    if of.source == "proc":
        return "the reading is from /proc/net/tcp alone"
    return "; ".join(of.problems)
