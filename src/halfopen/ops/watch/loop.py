"""The monitoring loop: read, compute, let the policy decide, carry out, tell. Survives vanished namespaces."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model import answered
from halfopen.core.model.columns import Builder, Columns
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import depths_tell, only
from halfopen.core.policy.actions import Release, Withheld
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.events import Gone, Seen
from halfopen.core.policy.incidents import Incidents
from halfopen.core.policy.policy import Action, LookAgain, Missing, Policy, ReadMore, State, step
from halfopen.core.policy.readings import counts_of, gained, undecided
from halfopen.core.policy.spacing import Spacing
from halfopen.core.reports import Begun, Decided, Did, Ended, Glance, Noticed, Reading, Report, Round, Trouble
from halfopen.core.sample import Completeness, Requests, Sample
from halfopen.core.where import Namespace
from halfopen.linux.identity import unentered
from halfopen.linux.netns import Netns, current
from halfopen.linux.stopping import StopEvent
from halfopen.ops.executor import Executor
from halfopen.ops.release.release import matching, may_release
from halfopen.ops.watch.clients import ClientsOf
from halfopen.ops.watch.counting import Counting
from halfopen.ops.watch.finishing import Finishing, finishing
from halfopen.ops.watch.known import Known
from halfopen.ops.watch.reloading import Reloading
from halfopen.read import guards, reader, requests
from halfopen.read.closing_counts import SocketCounter
from halfopen.read.discover import discover

# Reading every request may take this share of the time at most; in between the depths of the queues tell how many.
_CENSUS_SHARE: Final = 0.05
# The same while a cause is looked for.
_DECIDING_SHARE: Final = 0.2
# A network namespace in which nothing listens is looked at so often, where there are many: most of them are of helpers.
_EMPTY_S: Final = 5.0
# A release may take this share of an interval, and the next one goes on: so the interval is kept under a flood too.
_RELEASE_SHARE: Final = 0.5
# After that a reading tells whether what grew goes on growing; a quarter of an interval at least.
_CLOSER_S: Final = 0.25
# A longer interval is waited for in pieces.
_AWAKE_S: Final = 2.0


@dataclass(slots=True)
class Watch:
    """A watch over one namespace (None: the process's own) or, with `everywhere`, over all there are at each reading.

    read_by: as `reader.Wish.source`. interval_s between the starts of readings, duration_s and count end it (None:
    never); setting `stop` ends it at once. max_cpu: the share of a processor that readings may use before they are
    spaced out, without those of every request and without releases, which have shares of their own, and not while an
    incident is on; None: any. top: how many source prefixes a Model describes.
    reloading: the configuration that may change meanwhile; None: none may.
    """

    policy: Policy
    executor: Executor
    interval_s: float = 1.0
    ns: Netns | None = None
    everywhere: bool = False
    read_by: str = "auto"
    duration_s: float | None = None
    count: int | None = None
    max_cpu: float | None = None
    reloading: Reloading | None = None
    top: int = 3
    stop: threading.Event = field(default_factory=StopEvent)
    done: int = 0
    _state: State = State()
    # By inode: no two namespaces have one at a time. A reading tells whether it is still that of the same namespace.
    _known: dict[int, Known] = field(default_factory=dict)
    _troubled: dict[int, str] = field(default_factory=dict)
    # Where the policy asked for another reading within a fraction of a second.
    _closer: list[Netns] = field(default_factory=list)
    _finishing: Finishing | None = None
    _counting: Counting = field(default_factory=Counting)
    _sockets: SocketCounter = field(default_factory=SocketCounter)
    _incidents: Incidents = field(default_factory=Incidents)
    _clients: ClientsOf = field(default_factory=ClientsOf)
    _spacing: Spacing = field(init=False)
    # Processor time of what does not count against max_cpu.
    _apart_s: float = 0.0

    def __post_init__(self) -> None:
        self._spacing = Spacing(self.interval_s, self.max_cpu)

    @property
    def spacing(self) -> Spacing:
        """How far readings are apart now, and what they take."""
        return self._spacing

    def may_release(self) -> None:
        """Try, without an effect, whether a release would be refused: in the process's own namespace with `everywhere`.

        Raises: NotPermitted, Unsupported, UnknownTarget, KernelError.
        """
        (self.ns or current()).run(may_release)

    def run(self) -> Iterator[Report]:
        """Watch, yielding what happens as it happens. Raises: HalfopenError when the very first reading is
        impossible.
        """
        # Counted in one namespace only: in all of a machine no bound would hold of how many listeners there are.
        if not self.everywhere and self.read_by in ("auto", "bpf"):
            self._finishing = finishing((self.ns or current()).inode)
        self._counting.possible = self.read_by in ("auto", "bpf")
        try:
            yield from self._readings()
        finally:
            self._counting.close()
            if self._finishing is not None:
                self._finishing.close()

    def _readings(self) -> Iterator[Report]:
        yield Begun(self.interval_s, self.policy)
        self._spacing = Spacing(self.interval_s, self.max_cpu)
        started = due = time.monotonic()
        while not self.stop.is_set():
            yield from self._reload()
            used_s, self._apart_s = time.process_time(), 0.0
            self._spacing.alert = False
            yield from self._round()
            if self.count is not None and self.done >= self.count:
                break
            yield from self._spaced(time.process_time() - used_s - self._apart_s)
            due += self._spacing.now_s
            now = time.monotonic()
            if due < now:  # a reading took longer than the interval: no catching up
                due = now
            if self.duration_s is not None and due - started >= self.duration_s:
                self.stop.wait(max(0.0, started + self.duration_s - now))
                break
            yield from self._look_closer(due - self._spacing.now_s + _CLOSER_S, due)
            yield from self._wait(due)
        yield Ended(self.done)

    def _spaced(self, used_s: float) -> Iterator[Report]:
        """What a round took counts; not the first one, which loads programs."""
        if self.done > 1:
            self._spacing.took(max(0.0, used_s))
        if (news := self._spacing.news()) is not None:
            yield Trouble("watch", news)

    def _wait(self, due: float) -> Iterator[Report]:
        """Wait for the next reading, awake once in a while: a signal that asks for a reload does not end the wait."""
        while (left := due - time.monotonic()) > 0 and not self.stop.wait(min(left, _AWAKE_S)):
            yield from self._reload()

    def _reload(self) -> Iterator[Report]:
        if self.reloading is None or not self.reloading.asked:
            return
        report = self.reloading.take()
        self.policy, self.interval_s = self.reloading.now.policy, self.reloading.now.interval_s
        self._spacing.interval_s = self.interval_s
        yield report

    def _round(self) -> Iterator[Report]:
        targets = discover().namespaces if self.everywhere else [_again(self.ns or current())]
        for ns in targets:
            if self._rests(ns):
                continue
            try:
                yield from self._try(ns)
                self._troubled.pop(ns.inode, None)
            except HalfopenError as e:
                if not self.done and not self.everywhere:
                    raise
                if self.everywhere and _gone(ns):
                    continue  # between looking for namespaces and reading this one: no trouble
                # Once when it begins, not at every interval.
                if self._troubled.get(ns.inode) != e.message:
                    self._troubled[ns.inode] = e.message
                    yield Trouble(ns.name, e)
        self.done += 1
        yield from self._forget(targets)
        watched = {ns.inode: self._identity(ns) for ns in targets}
        troubled = frozenset(watched[inode] for inode in self._troubled)
        yield Round(frozenset(watched.values()), troubled)

    def _rests(self, ns: Netns) -> bool:
        """Whether a namespace, one of many, is not worth a look yet: lately nothing listened there."""
        known = self._known.get(ns.inode)
        if not self.everywhere or known is None or known.last is None or ns.inode in self._troubled:
            return False
        empty = not len(known.previous.listeners) and not known.last.half_open and not self._state.wanted(known.where)
        # Hundreds that were found at once are not to be read at once ever after.
        after_s = _EMPTY_S * (0.75 + ns.inode % 16 / 32)
        return empty and time.monotonic() < known.previous.monotonic_s + after_s

    def _look_closer(self, at: float, due: float) -> Iterator[Report]:
        """Between two readings, more of the namespaces where the policy asked for it, as long as it does and there is
        time.
        """
        while self._closer and at + _CLOSER_S <= due and not self.stop.wait(max(0.0, at - time.monotonic())):
            closer, self._closer = self._closer, []
            for ns in closer:
                try:
                    yield from self._one(ns, closer=True)
                except (HalfopenError, MemoryError):
                    continue  # the next reading says why
            at = max(at, time.monotonic()) + _CLOSER_S
        self._closer = []

    def _identity(self, ns: Netns) -> Namespace:
        known = self._known.get(ns.inode)
        if known is None:
            return unentered(ns)
        return replace(known.where, name=ns.name, path=ns.path, lives_in=ns.lives_in)

    def _try(self, ns: Netns) -> Iterator[Report]:
        try:
            yield from self._one(ns)
        except MemoryError:
            raise HalfopenError("memory", "not enough memory for a reading") from None

    def _forget(self, targets: Sequence[Netns]) -> Iterator[Report]:
        """Forget what is known of namespaces that are gone; an alarm there is over."""
        found = {ns.inode for ns in targets}
        there = found if self.everywhere else {ns.inode for ns in targets if not _gone(ns)}
        for inode in self._known.keys() - there:
            yield from self._end(self._known.pop(inode))
        self._troubled = {inode: said for inode, said in self._troubled.items() if inode in found}

    def _end(self, known: Known) -> Iterator[Report]:
        """A namespace is gone."""
        self._counting.forget(known.where.inode)
        self._clients.forget(known.where.inode)
        self._state, actions = step(self._state, Gone(known.where, time.monotonic()), self.policy)
        model = build(replace(known.previous, wall_s=time.time(), parts=(Requests(),))) if actions else None
        for action in actions:
            if model is not None and isinstance(action, Telling):
                yield Decided(model, action, None, self._incidents.told(model, action, None))
        self._incidents.forget(known.where)

    def _one(self, ns: Netns, *, closer: bool = False) -> Iterator[Report]:
        known, began = self._known.get(ns.inode), time.monotonic()
        sample, columns = self._read(ns, None if known is None else known.previous)
        if known is not None and known.where != sample.where:
            # The kernel gave the inode of a namespace that is gone to another one.
            yield from self._end(self._known.pop(ns.inode))
            known, (sample, columns) = None, self._read(ns, None)
        previous = None if known is None else known.previous
        if known is None:
            inode = sample.where.inode  # not always ns.inode: the path may lead elsewhere by now
            known = self._known.get(inode)
            if known is not None and known.where != sample.where:
                yield from self._end(self._known.pop(inode))
                known = None
            known = known or self._known.setdefault(inode, Known(sample.bare()))
        model = self._model(known, sample, columns, previous, began)
        model, verdict, state, actions = self._decide(ns, known, model, previous)
        known.keep(model, verdict)
        self._clients.count(ns.inode, model)
        self._state = state
        self._count(known, model, verdict)
        told = [(a, self._incidents.told(model, a, verdict)) for a in actions if isinstance(a, Telling)]
        on = self._incidents.seen(model, state.incidents(known.where))
        self._spacing.alert |= bool(on)
        if not closer or told:
            yield Reading(model, verdict, time.monotonic() - began, on, known.calm)
        else:
            yield Glance(model, verdict, known.calm)
        now = {one.id: one for one in on}
        for telling, one in told:
            yield Decided(model, telling, verdict, now.get(one.id, one))
        for action in actions:
            if isinstance(action, Release):
                yield self._release(ns, known, action)
            elif isinstance(action, Withheld):
                yield from self._note(model, action)
            elif isinstance(action, LookAgain):
                self._closer.append(ns)

    def _note(self, model: Model, action: Withheld) -> Iterator[Report]:
        """Record a release that is not carried out, and tell of it; where it cannot be recorded, that is told too."""
        try:
            self.executor.note(action)
        except HalfopenError as e:
            yield Trouble(action.release.netns, e)
        yield Noticed(model, action)

    def _decide(
        self, ns: Netns, known: Known, model: Model, previous: Sample | None
    ) -> tuple[Model, Verdict | None, State, tuple[Action, ...]]:
        """What the policy makes of a reading, and the reading, completed as far as the policy asked for it."""
        of = self._finishing
        finished_at = None if of is None or of.inode != known.where.inode else of.since(model)
        model, verdict, seen = self._seen(known, model, finished_at)
        while True:
            state, actions = step(self._state, seen, self.policy)
            missing = {action.missing for action in actions if isinstance(action, ReadMore)}
            if not missing:
                return model, verdict, state, actions
            if Missing.REQUESTS in missing:
                began = time.monotonic()
                sample, columns = self._read(ns, previous, whole=True)
                if sample.where != seen.where:
                    raise UnknownTarget(f"network namespace {ns.name} was replaced by another one while it was read")
                model = self._model(known, sample, columns, previous, began)
                model, verdict, seen = self._seen(known, model, finished_at)
            if Missing.MATCHING in missing:
                asked = [release for action in actions if isinstance(action, ReadMore) for release in action.releases]
                counted = {release: self._matching(ns, known, release) for release in asked}
                seen = replace(seen, matching={**seen.matching, **counted})

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
        """Have it counted who finishes, as long as there is something to judge that is not decided."""
        decided = None if verdict is None or model.arrived is None else not undecided(verdict)
        alarmed, busy = self._state.alarmed(known.where, rising=True), known.busy
        self._counting.after(known.where.inode, time.monotonic(), busy=busy, alarmed=alarmed, decided=decided)

    def _seen(
        self, known: Known, model: Model, finished_at: Mapping[Subject, int] | None
    ) -> tuple[Model, Verdict | None, Seen]:
        where = model.sample.where
        model, verdict = known.judged(model, resting=self._counting.resting(where.inode))
        wanted = self._state.wanted(where)
        some = not self.policy.watched.empty
        seen = Seen(
            where=where,
            at_s=model.sample.monotonic_s,
            half_open=model.half_open,
            whole=not model.sample.depths,
            may_read_whole=time.monotonic() >= known.whole_again_at_s,
            degraded=_degraded(model.sample.completeness),
            counts=counts_of(model, known.last, verdict, wanted, some=some),
            finished=gained("PassiveOpens", model, known.last),
            finished_at=finished_at,
            release_s=max(1.0, model.release_time_s),
            verdict=verdict,
            wall_s=model.sample.wall_s,
        )
        return model, verdict, seen

    def _release(self, ns: Netns, known: Known, action: Release) -> Did:
        within_s, used_s = self.interval_s * _RELEASE_SHARE, time.process_time()
        clients = None if action.sparing.clients_s is None else self._clients.of(ns)
        outcome = self.executor.execute(action, ns, stop=self.stop, within_s=within_s, calm=known.calm, clients=clients)
        self._apart_s += time.process_time() - used_s
        self._state, _ = step(self._state, outcome, self.policy)
        return Did(outcome, self._incidents.did(outcome, time.time()))

    def _model(
        self, known: Known, sample: Sample, columns: Columns | None, previous: Sample | None, began: float
    ) -> Model:
        """What a sample, whose reading began then, shows of what is watched."""
        now = time.monotonic()
        # The first reading took longer for the programs that were loaded.
        if not sample.depths and previous is not None:
            share = _DECIDING_SHARE if self._counting.active(known.where.inode) else _CENSUS_SHARE
            known.whole_again_at_s = now + (now - began) * (1 / share - 1)
        # A reading tells of what came after it.
        known.calm = answered.calm(sample.listeners, sample.counters, now, known.calm)
        model = build(sample, previous, columns=columns, top=self.top, before=known.before, calm=known.calm)
        known.before = model if sample.depths else None
        return only(model, self.policy.watched)

    def _read(self, ns: Netns, previous: Sample | None, *, whole: bool = False) -> tuple[Sample, Columns | None]:
        """Read a namespace; who listens is looked up again only when the listeners changed.

        First the depths of its queues, unless `whole`: without any half-open connection they say it all. With every
        request read, the columns come with the Sample.
        """
        if previous is None:
            return self._read_whole(ns, with_owners=True)
        found = None if whole else self._read_depths(ns)
        sample, columns = (found, None) if found is not None else self._read_whole(ns, with_owners=False)
        now_there, there = sample.listeners["inode"], previous.listeners["inode"]
        if not np.array_equal(now_there, there) and set(now_there.tolist()) != set(there.tolist()):
            return self._read_whole(ns, with_owners=True)
        kept = replace(
            sample,
            owners=previous.owners,
            options=previous.options,
            completeness=replace(sample.completeness, notes=previous.completeness.notes),
        )
        return kept, columns

    def _read_whole(self, ns: Netns, *, with_owners: bool) -> tuple[Sample, Columns]:
        used_s = time.process_time()
        try:
            return self._every_request(ns, with_owners)
        finally:
            self._apart_s += time.process_time() - used_s

    def _every_request(self, ns: Netns, with_owners: bool) -> tuple[Sample, Columns]:
        watched = None if self.policy.watched.empty else self.policy.watched
        builder = Builder()
        probes = [requests.probe(builder, chosen=watched), guards.probe(), *self._counting.probes(ns.inode)]
        probes.append(self._sockets.probe(ns.inode))
        sample = reader.read(ns, probes, way=self.read_by, with_owners=with_owners)
        return sample, builder.take()

    def _read_depths(self, ns: Netns) -> Sample | None:
        """The depths of the queues; None where they do not tell how many connections are half-open."""
        if self.read_by not in ("auto", "bpf"):
            return None
        try:
            sample = reader.read(
                ns, [guards.probe(), self._sockets.probe(ns.inode)], way=self.read_by, with_owners=False
            )
        except HalfopenError:
            return None  # the whole reading says why
        return sample if depths_tell(sample) else None


def _degraded(of: Completeness) -> str:
    """Why a reading is not to be acted on: not by what a look that skipped some would miss, a release looks again."""
    if of.source == "proc":
        return "the reading is from /proc/net/tcp alone"
    return "; ".join(of.problems)


def _again(ns: Netns) -> Netns:
    """The namespace that is now where this one was found."""
    try:
        return replace(ns, inode=os.stat(ns.path).st_ino)
    except OSError:
        return ns


def _gone(ns: Netns) -> bool:
    """Whether the namespace is no longer where it was found."""
    try:
        return os.stat(ns.path).st_ino != ns.inode
    except OSError:
        return True
