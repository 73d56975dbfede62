"""The monitoring loop: read, compute, let the policy decide, carry out, tell. Survives vanished namespaces."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from halfopen.core.errors import HalfopenError
from halfopen.core.model import answered
from halfopen.core.model.columns import Builder, Columns
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import depths_tell, only, tells
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.policy import Action, Policy, Seen, State, forget, step
from halfopen.core.sample import Requests, Sample
from halfopen.linux.netns import Netns, current
from halfopen.ops.executor import Executor
from halfopen.ops.release.release import matching
from halfopen.read import reader, requests
from halfopen.read.discover import discover


@dataclass(frozen=True, slots=True)
class Reading:
    """A namespace was read."""

    model: Model


@dataclass(frozen=True, slots=True)
class Decided:
    """The policy decided on an alarm or its end."""

    model: Model
    action: Action


@dataclass(frozen=True, slots=True)
class Did:
    """A release was carried out."""

    outcome: Released


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something could not be done; watching goes on."""

    netns: str
    error: HalfopenError


@dataclass(frozen=True, slots=True)
class Round:
    """Every namespace that is watched was read, or (`troubled`) could not be."""

    watched: frozenset[str]
    troubled: frozenset[str]


Report = Reading | Decided | Did | Trouble | Round


# Reading every request may take this share of the time at most; in between the depths of the queues tell how many.
_CENSUS_SHARE: Final = 0.05
# A release may take this share of an interval, and the next one goes on: so the interval is kept under a flood too.
_RELEASE_SHARE: Final = 0.5


@dataclass(slots=True)
class Watch:
    """A watch over one namespace (None: the process's own) or, with `everywhere`, over all there are at each reading.

    read_by: "auto", or a way to read to insist on. interval_s between the starts of readings, duration_s and count end
    it (None: never); setting `stop` ends it at once.
    """

    policy: Policy
    executor: Executor
    interval_s: float = 1.0
    ns: Netns | None = None
    everywhere: bool = False
    read_by: str = "auto"
    duration_s: float | None = None
    count: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    _state: State = State()
    _previous: dict[int, Sample] = field(default_factory=dict)
    _before: dict[int, Model] = field(default_factory=dict)
    _troubled: dict[str, str] = field(default_factory=dict)
    _whole_again_at: dict[int, float] = field(default_factory=dict)
    _calm: dict[int, answered.Calm] = field(default_factory=dict)

    def run(self) -> Iterator[Report]:
        """Watch, yielding what happens as it happens. Raises: HalfopenError when the very first reading is
        impossible.
        """
        started = due = time.monotonic()
        while not self.stop.is_set():
            targets = discover().namespaces if self.everywhere else [self.ns or current()]
            for ns in targets:
                try:
                    yield from self._try(ns)
                    self._troubled.pop(ns.name, None)
                except HalfopenError as e:
                    if not self.done and not self.everywhere:
                        raise
                    if self.everywhere and _gone(ns):
                        continue  # between looking for namespaces and reading this one: no trouble
                    # Once when it begins, not at every interval.
                    if self._troubled.get(ns.name) != e.message:
                        self._troubled[ns.name] = e.message
                        yield Trouble(ns.name, e)
            self.done += 1
            yield from self._forget(targets)
            yield Round(frozenset(ns.name for ns in targets), frozenset(self._troubled))
            if self.count is not None and self.done >= self.count:
                return
            due += self.interval_s
            now = time.monotonic()
            if due < now:  # a reading took longer than the interval: no catching up
                due = now
            if self.duration_s is not None and due - started >= self.duration_s:
                self.stop.wait(max(0.0, started + self.duration_s - now))
                return
            self.stop.wait(due - now)

    def _try(self, ns: Netns) -> Iterator[Report]:
        try:
            yield from self._one(ns)
        except MemoryError:
            raise HalfopenError("memory", "there was too little memory for a reading") from None

    def _forget(self, targets: Sequence[Netns]) -> Iterator[Report]:
        """Forget what is known of namespaces that are gone; an alarm there is over."""
        there, names = {ns.inode for ns in targets}, {ns.name for ns in targets}
        self._state, ended = forget(self._state, there, time.monotonic())
        for inode, clear in ended:
            if inode in self._previous:
                yield Decided(build(replace(self._previous[inode], wall_s=time.time(), parts=(Requests(),))), clear)
        for known in (self._previous, self._before, self._whole_again_at, self._calm):
            for inode in known.keys() - there:
                del known[inode]
        for name in self._troubled.keys() - names:
            del self._troubled[name]

    def _one(self, ns: Netns) -> Iterator[Report]:
        previous = self._previous.get(ns.inode)
        sample, columns = self._read(ns, previous)
        model = self._model(sample, columns, previous)
        matching = self._matching(ns, model)
        state, actions = step(self._state, self._seen(model, matching), self.policy)
        wanted = not tells(self.policy.watched) or self._due(ns)
        alarmed = any(not isinstance(action, Release) for action in actions)
        if sample.depths and (alarmed or (model.half_open and wanted)):
            # An alarm is to say why.
            sample, columns = self._read(ns, previous, whole=True)
            model = self._model(sample, columns, previous)
            state, actions = step(self._state, self._seen(model, matching), self.policy)
        self._previous[ns.inode] = sample.bare()
        yield Reading(model)
        self._state = state
        for action in actions:
            if isinstance(action, Release):
                outcome = self.executor.execute(
                    action,
                    ns,
                    stop=self.stop,
                    within_s=self.interval_s * _RELEASE_SHARE,
                    calm=self._calm.get(model.sample.where.inode),
                )
                self._state, _ = step(self._state, outcome, self.policy)
                yield Did(outcome)
            else:
                yield Decided(model, action)

    def _model(self, sample: Sample, columns: Columns | None, previous: Sample | None) -> Model:
        """What the sample shows of what is watched."""
        inode = sample.where.inode
        # A reading tells of what came after it.
        calm = self._calm[inode] = answered.calm(
            sample.listeners, sample.counters, time.monotonic(), self._calm.get(inode)
        )
        model = build(sample, previous, columns=columns, top=3, before=self._before.get(inode), calm=calm)
        self._before.pop(inode, None)
        if sample.depths:
            self._before[inode] = model
        return only(model, self.policy.watched)

    def _due(self, ns: Netns) -> bool:
        """Whether every request may be read again."""
        return time.monotonic() >= self._whole_again_at.get(ns.inode, 0.0)

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
        watched = None if self.policy.watched.empty else self.policy.watched
        builder = Builder()
        began = time.monotonic()
        probe = requests.probe(builder, chosen=watched)
        sample = reader.read(ns, [probe], way=self.read_by, with_owners=with_owners)
        now = time.monotonic()
        self._whole_again_at[ns.inode] = now + (now - began) * (1 / _CENSUS_SHARE - 1)
        return sample, builder.take()

    def _read_depths(self, ns: Netns) -> Sample | None:
        """The depths of the queues; None where they do not tell how many connections are half-open."""
        if self.read_by not in ("auto", "bpf"):
            return None
        try:
            sample = reader.read(ns, way=self.read_by, with_owners=False)
        except HalfopenError:
            return None  # the whole reading says why
        return sample if depths_tell(sample) else None

    def _matching(self, ns: Netns, model: Model) -> int:
        """How many connections are to be released."""
        if self.policy.release is None or not model.half_open:
            return 0
        return matching(self.policy.release, ns, self.stop, self._calm.get(model.sample.where.inode))

    def _seen(self, model: Model, matching: int) -> Seen:
        return Seen(
            netns=model.sample.where.name,
            at_s=model.sample.monotonic_s,
            half_open=model.half_open,
            oldest_s=model.oldest_s,
            matching=matching,
            fullest=max((v.fill or 0.0 for v in model.listeners), default=0.0),
            inode=model.sample.where.inode,
        )


def _gone(ns: Netns) -> bool:
    """Whether the namespace is no longer where it was found."""
    try:
        return os.stat(ns.path).st_ino != ns.inode
    except OSError:
        return True
