"""The loop of a watch: when to read, which namespaces, and when to end. Namespaces may vanish at any time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.policy.actions import AUTO
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.spacing import Spacing
from halfopen.core.reports import Begun, Ended, Report, Round, Trouble
from halfopen.core.where import Namespace
from halfopen.linux.netns import Netns, current, is_gone
from halfopen.linux.stopping import StopEvent
from halfopen.ops.executor import Executor
from halfopen.ops.protect import rungs
from halfopen.ops.release.release import may_release
from halfopen.ops.watch.connections import ConnectionLooks
from halfopen.ops.watch.counting import Counting
from halfopen.ops.watch.finishing import finishing
from halfopen.ops.watch.guard_keeper import GuardKeeper
from halfopen.ops.watch.reading import NamespaceReader, TimeApart
from halfopen.ops.watch.reloading import Reloading
from halfopen.ops.watch.turn import NamespaceTurns
from halfopen.read.discover import discover
from halfopen.read.still import StillNamespaces

if TYPE_CHECKING:
    from halfopen.ops.watch.silences import Silences

# If there are many namespaces, one in which nothing listens or happens is read this often.
_EMPTY_S: Final = 5.0
# After this time, but at least a quarter of an interval, another reading shows whether a rise continues.
_CLOSER_S: Final = 0.25
# A longer interval is waited for in steps of this.
_AWAKE_S: Final = 2.0


class Watch(Struct):
    """A watch over one namespace (None: the process's own) or, with `everywhere`, over all there are at each reading.

    interval_s: seconds between the starts of two readings. duration_s and count end the watch (None: never); setting
    `stop` ends it at once. done: how many readings there were. read_by: as the `way` of `read.reader.read`. top: how
    many source prefixes a Model describes. max_cpu: the share of one processor, from 0 to 1, that readings may use
    before they are spaced out (None: any). Readings of every request and releases do not count, as they have shares of
    their own; nothing is spaced out during an incident. reloading: the configuration, where it may change meanwhile.
    earlier: the incidents that an earlier watch did not see end, by namespace. silences: the incidents of which nobody
    is told, where there can be any.
    connections: the looks at open and closing connections.
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
    earlier: dict[Namespace, tuple[Incident, ...]] = field(default_factory=dict)
    silences: Silences | None = None
    top: int = 3
    stop: threading.Event = field(default_factory=StopEvent)
    connections: ConnectionLooks = field(default_factory=ConnectionLooks)
    done: int = 0
    _troubled: dict[int, str] = field(default_factory=dict)
    _still: StillNamespaces = field(default_factory=StillNamespaces)
    _spacing: Spacing = field(default_factory=lambda: Spacing(1.0, None))
    _turns: NamespaceTurns = None  # type: ignore[assignment]  # made by `run`

    def __post_init__(self) -> None:
        self._spacing = Spacing(self.interval_s, self.max_cpu)

    @property
    def spacing(self) -> Spacing:
        """The present spacing of readings, and their cost."""
        return self._spacing

    def may_release(self) -> None:
        """Check whether a release would be permitted, without an effect; with `everywhere` in the process's own
        namespace.

        Raises: NotPermitted, Unsupported, UnknownTarget, KernelError.
        """
        (self.ns or current()).run(may_release)

    def may_guard(self) -> None:
        """Check whether this host can arm a guard, without an effect.

        Raises: CannotGuard, NotPermitted, Unsupported, KernelError.
        """
        rungs.choose(AUTO)

    def run(self) -> Iterator[Report]:
        """Watch, and yield reports as things happen. Raises: HalfopenError if the first reading is impossible."""
        may_count = self.read_by in ("auto", "bpf")
        # Only with one namespace: the number of listeners on a whole machine has no bound.
        finishes = None if self.everywhere or not may_count else finishing((self.ns or current()).inode)
        reader = NamespaceReader(self.read_by, Counting(may_count), TimeApart())
        guards = GuardKeeper(self.executor)
        self._turns = NamespaceTurns(
            self.policy, self.interval_s, self.executor, reader, self.top, self.stop, finishes, self.connections, guards
        )
        self._turns.earlier = self.earlier
        try:
            yield from self._readings()
        finally:
            guards.close()
            reader.counting.close()
            if finishes is not None:
                finishes.close()

    def _readings(self) -> Iterator[Report]:
        yield Begun(self.interval_s, self.policy)
        self._spacing = Spacing(self.interval_s, self.max_cpu)
        started = due = time.monotonic()
        while not self.stop.is_set():
            yield from self._reload()
            began_s, apart = time.process_time(), self._turns.reader.apart
            apart.used_s, self._turns.incident_is_on = 0.0, False
            if self.silences is not None:
                self._turns.silence(self.silences.now())
            yield from self._round()
            self._spacing.alert = self._turns.incident_is_on
            if self.count is not None and self.done >= self.count:
                break
            yield from self._spaced(time.process_time() - began_s - apart.used_s)
            due += self._spacing.now_s
            now = time.monotonic()
            if due < now:  # a reading took longer than the interval: do not catch up
                due = now
            if self.duration_s is not None and due - started >= self.duration_s:
                self.stop.wait(max(0.0, started + self.duration_s - now))
                break
            yield from self._look_closer(due - self._spacing.now_s + _CLOSER_S, due)
            yield from self._wait(due)
        self._turns.guards.close()
        yield from self._turns.guards.news()
        yield Ended(self.done)

    def _spaced(self, used_s: float) -> Iterator[Report]:
        """Count the cost of a round, but not of the first, which loads programs."""
        if self.done > 1:
            self._spacing.took(max(0.0, used_s))
        if (news := self._spacing.news()) is not None:
            yield Trouble("watch", news)

    def _wait(self, due: float) -> Iterator[Report]:
        """Wait for the next reading, waking now and then, as a signal for a reload does not end a wait."""
        while (left := due - time.monotonic()) > 0 and not self.stop.wait(min(left, _AWAKE_S)):
            yield from self._reload()

    def _reload(self) -> Iterator[Report]:
        if self.reloading is None or not self.reloading.asked:
            return
        report = self.reloading.take()
        self.policy, self.interval_s = self.reloading.now.policy, self.reloading.now.interval_s
        self._turns.policy, self._turns.interval_s = self.policy, self.interval_s
        self._spacing.interval_s = self.interval_s
        yield report

    def _round(self) -> Iterator[Report]:
        targets = discover().namespaces if self.everywhere else [current() if self.ns is None else _again(self.ns)]
        still = self._still.among(self._quiet(targets))
        for ns in targets:
            if self._rests(ns, still):
                continue
            try:
                yield from self._try(ns)
                self._troubled.pop(ns.inode, None)
            except HalfopenError as e:
                if not self.done and not self.everywhere:
                    raise
                if self.everywhere and is_gone(ns):
                    continue  # it vanished after the namespaces were listed: not an error
                # Report it once when it begins, not at every interval.
                if self._troubled.get(ns.inode) != e.message:
                    self._troubled[ns.inode] = e.message
                    yield Trouble(ns.name, e, self._turns.identity(ns))
        self.done += 1
        yield from self._turns.guards.news()
        yield from self._forget(targets)
        watched = {ns.inode: self._turns.identity(ns) for ns in targets}
        troubled = frozenset(watched[inode] for inode in self._troubled)
        yield Round(frozenset(watched.values()), troubled)

    def _quiet(self, targets: Sequence[Netns]) -> dict[int, tuple[Netns, int]]:
        """The namespaces, of many, that need no turn if nothing happened there, with their numbers of listeners."""
        found = {}
        for ns in targets if self.everywhere else ():
            known = self._turns.known.get(ns.inode)
            if known is None or known.last is None or known.last.half_open or ns.inode in self._troubled:
                continue
            # Namespaces without listeners are left out: there is nothing to judge.
            if len(known.previous.listeners) and not known.busy and not self._turns.state.wanted(known.where):
                found[ns.inode] = ns, len(known.previous.listeners)
        return found

    def _rests(self, ns: Netns, still: frozenset[int]) -> bool:
        """Whether a namespace, one of many, needs no turn yet: nothing listens there, or nothing happened since the
        last look (`still`).
        """
        known = self._turns.known.get(ns.inode)
        if not self.everywhere or known is None or known.last is None or ns.inode in self._troubled:
            return False
        wanted = self._turns.state.wanted(known.where)
        empty = not len(known.previous.listeners) and not known.last.half_open and not wanted
        # Spread the turns of namespaces that were found at the same time.
        after_s = _EMPTY_S * (0.75 + ns.inode % 16 / 32)
        return (empty or ns.inode in still) and time.monotonic() < known.previous.monotonic_s + after_s

    def _look_closer(self, at: float, due: float) -> Iterator[Report]:
        """Read the namespaces again that the policy asks for, while there is time until `due`."""
        turns = self._turns
        while turns.closer and at + _CLOSER_S <= due and not self.stop.wait(max(0.0, at - time.monotonic())):
            closer, turns.closer = turns.closer, []
            for ns in closer:
                try:
                    yield from turns.take(ns, closer=True)
                except (HalfopenError, MemoryError):
                    continue  # the next reading reports why
            at = max(at, time.monotonic()) + _CLOSER_S
        turns.closer = []

    def _try(self, ns: Netns) -> Iterator[Report]:
        try:
            yield from self._turns.take(ns)
        except MemoryError:
            raise HalfopenError("memory", "not enough memory for a reading") from None

    def _forget(self, targets: Sequence[Netns]) -> Iterator[Report]:
        """Forget namespaces that are gone; alarms there end."""
        found = {ns.inode for ns in targets}
        there = found if self.everywhere else {ns.inode for ns in targets if not is_gone(ns)}
        for inode in self._turns.known.keys() - there:
            yield from self._turns.end(inode)
        self._turns.reader.keep(there)
        self._troubled = {inode: said for inode, said in self._troubled.items() if inode in found}


def _again(ns: Netns) -> Netns:
    """The namespace to which the path of this one leads now."""
    try:
        inode = os.stat(ns.path).st_ino
    except OSError:
        return ns
    return ns if inode == ns.inode else replace(ns, inode=inode)
