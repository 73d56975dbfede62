"""The accept queue: connections that finished their handshake and that the program does not take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from halfopen.core.findings import holder
from halfopen.core.findings.costs import overflows_per_s
from halfopen.core.findings.cures import (
    ContinueProcess,
    Cure,
    ForProcess,
    LookAtProcess,
    LookAtQuota,
    LookAtTracer,
    RaiseDescriptors,
    RaiseOpenFiles,
    ThawProcess,
)
from halfopen.core.findings.evidence import NEARLY_FULL, AcceptQueue, Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.holder import Holder, Obstacle
from halfopen.core.findings.registry import OnRelease, rule
from halfopen.core.findings.remedies import longer_queues, look_closer
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import ChangeSetting, Look
from halfopen.core.tune.keys import ABORT

# A process in such a way accepts nothing until somebody helps it.
_FOR_GOOD: Final = (holder.STOPPED, holder.NO_DESCRIPTORS)


class Stuck(Struct, frozen=True):
    """Accept queues of a listener that are full or that nothing is accepted from, the fullest first; who may accept on
    them (holders), and which of these are kept from it (reasons).
    """

    view: ListenerView
    queues: tuple[AcceptQueue, ...]
    holders: tuple[Holder, ...] = ()
    reasons: tuple[Obstacle, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the listener as a whole does not accept, not one socket or worker of several."""
        some = 0 < len(self.reasons) < len(self.holders)
        return len(self.queues) == self.view.members and not (some and len(self.queues) == 1)

    @property
    def accepts(self) -> bool:
        """Whether anybody may accept on one of these queues now and then; also where there was one look only."""
        cannot = [one for one in self.reasons if one.why in _FOR_GOOD]
        every = bool(cannot) and len(cannot) == len(self.holders)
        return not every and any(queue.accepted != 0 for queue in self.queues)


# A burst is accepted sooner.
_NO_BURST_S: Final = 3.0
# A program that accepts at all accepts even a few sooner.
_FOR_LONG_S: Final = 10.0
# A program that keeps up accepts sooner, and where only counters tell how long connections wait, this many tell it.
_KEEPS_UP_S: Final = 1.0
_SOME: Final = 10
# More processes than these are not named in one command.
_MOST_STEPS: Final = 4


def _is_stuck(queue: AcceptQueue, overflowing: bool, interval_s: float) -> bool:
    """Whether nothing was accepted though connections wait, or it is full, or overflows and is nearly full at both
    looks, or connections wait for long in it; not where it was empty a moment ago and was accepted from.
    """
    if queue.full:
        return not (queue.before == 0 and queue.accepted)
    if queue.before is None and queue.held:
        return (queue.oldest_s or 0.0) >= (_NO_BURST_S if queue.held >= _SOME else _FOR_LONG_S)
    if not queue.held or not queue.before:
        return False
    if queue.accepted == 0 or (overflowing and min(queue.held, queue.before) >= NEARLY_FULL * queue.cap):
        return True
    return _falls_behind(queue, interval_s)


def _falls_behind(queue: AcceptQueue, interval_s: float) -> bool:
    """Whether connections wait for long in a queue that does not get shorter, however much room it has left."""
    if queue.before is None or not queue.accepted or queue.held < queue.before:
        return False
    if queue.oldest_s is not None and queue.oldest_s >= _NO_BURST_S:
        return True
    # No more than that were accepted (Little's law).
    waits_s = queue.held * interval_s / queue.accepted if queue.oldest_s is None else queue.oldest_s
    return queue.held >= _SOME and waits_s >= _KEEPS_UP_S


def stuck(e: Evidence, view: ListenerView) -> Stuck | None:
    """The accept queues of a listener that are not accepted from; None where all are."""
    if not view.accept_queue:
        return None  # as of most of a thousand listeners
    overflowing = e.rate("ListenOverflows") > 0
    each = [queue for queue in e.accept_queues(view) if _is_stuck(queue, overflowing, e.interval_s)]
    queues = tuple(sorted(each, key=lambda queue: -queue.held / queue.cap))
    if not queues:
        return None
    found = holder.holders(e, (queue.inode for queue in queues))
    reasons = [reason for one in found if (reason := holder.reason(one, queues[0].accepted)) is not None]
    return Stuck(view, queues, tuple(found), tuple(sorted(reasons, key=lambda r: holder.WORST.index(r.why))))


def _level(e: Evidence, found: Stuck, reason: Obstacle | None) -> Level:
    """By what it does to clients: they are turned away, or wait for a program that will not accept by itself."""
    queue = found.queues[0]
    # A slow program has taken one or two just now.
    if queue.full or (queue.nearly_full and overflows_per_s(e, found.view)):
        return Level.CRITICAL
    for_good = reason is not None and reason.why in _FOR_GOOD
    # By then a client gives up, or whoever waits in front of it.
    long = queue.accepted != 0 and (queue.oldest_s or 0.0) >= _NO_BURST_S
    return Level.WARNING if for_good or long or queue.held * 2 > queue.cap else Level.NOTICE


def _facts(e: Evidence, found: Stuck) -> tuple[Fact, ...]:
    queue, view = found.queues[0], found.view
    facts = [Fact("accept_queue", queue.held, max(queue.held, queue.cap)), Fact("sockets", view.members)]
    if len(found.queues) < view.members:
        facts.append(Fact("stuck_sockets", len(found.queues)))
    if queue.accepted is not None:
        facts += [Fact("accepted_at_most", queue.accepted), Fact("interval_s", round(e.interval_s, 2), unit="s")]
    if queue.oldest_s is not None and not view.defer_accept_s:
        facts.append(Fact("oldest_s", round(queue.oldest_s, 1), unit="s"))
    overflows = e.rate("ListenOverflows")
    if overflows:
        facts.append(Fact("overflows_per_s", round(overflows, 1), unit="per_s"))
    return tuple(facts)


def _reason(found: Stuck) -> Obstacle | None:
    """Why it is not accepted from; None where nobody is known who should."""
    if found.reasons:
        return found.reasons[0]
    # The youngest, which is rather a worker than the parent of others.
    return holder.otherwise(found.holders[-1], found.queues[0].accepted) if found.holders else None


def _who(found: Stuck, reason: Obstacle | None) -> tuple[Fact, ...]:
    """The cause, the process, and how many of how many are like it."""
    if reason is None:
        return (Fact("why", holder.UNKNOWN),)
    process = reason.holder.process
    facts = [Fact("why", reason.why), Fact("process", process.name), Fact("pid", process.pid)]
    if inside := process.inside:
        facts.append(Fact("inside", inside))
    alike = sum(one.why == reason.why for one in found.reasons) if found.reasons else len(found.holders)
    return (*facts, Fact("processes", len(found.holders)), Fact("stuck_processes", alike), *reason.facts)


def _cures(e: Evidence, found: Stuck, reason: Obstacle | None, id: str) -> tuple[Cure, ...]:
    """The process first; a longer queue helps only a program that accepts at all, or where a single one fits."""
    queue = found.queues[0]
    slow = queue.full and not found.reasons and (queue.accepted is None or queue.accepted > 0)
    # Where the next one has waited for long it was no burst, and where the other sockets drain theirs are long enough.
    burst = slow and found.whole and (queue.oldest_s or 0.0) < _NO_BURST_S
    longer = longer_queues(e, found.view, id) if burst or queue.cap == 1 else ()
    if reason is None:
        # Whether a longer queue helps depends on a program of which nothing is known.
        if e.now.sample.completeness.hidden:
            return ((Look(e.netns, "status", id, as_root=True),),)
        return look_closer(e, id)
    first = _step(reason, id)
    if reason.why == holder.NO_DESCRIPTORS and (files := reason.holder.files) is not None and _whole_system(reason):
        # More files on this system help each of them.
        return ((RaiseOpenFiles(2 * files.limit, id),), *longer)
    if not isinstance(first, ContinueProcess | ThawProcess | RaiseDescriptors):
        return ((first,), *longer)
    # Of several in the same way, each needs the same; those of one cgroup are thawed together.
    alike = (_step(one, id) for one in found.reasons if one.why == reason.why)
    same = [step for step in alike if isinstance(step, type(first))]
    if isinstance(first, ThawProcess):
        same = [first]
    return (tuple(same[:_MOST_STEPS]), *longer)


def _whole_system(reason: Obstacle) -> bool:
    """Whether it is the system as a whole that has no room for another open file."""
    return any(fact.name == "open_files" for fact in reason.facts)


def _step(reason: Obstacle, id: str) -> ForProcess:
    """The step that helps one process, or shows more of it."""
    process, now = reason.holder.process, reason.holder.now
    if reason.why == holder.STOPPED:
        return _go_on(reason, id)
    if reason.why == holder.NO_DESCRIPTORS and now is not None and now.descriptor_limit is not None:
        return RaiseDescriptors(process.pid, _more(now.descriptor_limit), id)
    if reason.why == holder.THROTTLED:
        cgroup = next(str(fact.value) for fact in reason.facts if fact.name == "cgroup")
        return LookAtQuota(cgroup, process.unit or "", id)
    return LookAtProcess(process.pid, id, _look_at(reason))


# Of a CPU: then its threads tell more than the place in which one of them waits.
_COMPUTES: Final = 0.5


def _look_at(reason: Obstacle) -> str:
    """The sight of a process that tells most: the kernel's stack tells nothing of one that computes or has no CPU."""
    if reason.why == holder.STARVED:
        return "others"
    if any(fact.name == "cpu_share" and float(fact.value) >= _COMPUTES for fact in reason.facts):
        return "threads"
    return "stack" if reason.holder.now is not None and reason.holder.now.state == "D" else "waits"


def _go_on(reason: Obstacle, id: str) -> ForProcess:
    """The step by which a stopped process goes on: SIGCONT moves neither one that a debugger stops nor a frozen one."""
    process, told = reason.holder.process, {fact.name: fact.value for fact in reason.facts}
    pid = process.pid
    if "frozen" in told:
        return ThawProcess(pid, str(told["frozen"]), id, process.container_name or process.container or "")
    if told["state"] == "t":
        return LookAtTracer(pid, int(told.get("tracer", 0)), id)
    return ContinueProcess(pid, id)


def _more(limit: int) -> int:
    """The next power of two that doubles a limit of open files, and 1,024 at least."""
    return max(1024, 1 << (2 * limit - 1).bit_length())


def _hit(e: Evidence, found: Stuck, id: str) -> Hit:
    reason = _reason(found)
    facts = (*_facts(e, found), *_who(found, reason))
    cures = _cures(e, found, reason, id)
    return Hit(_level(e, found, reason), facts, found.view, ("backlog-small",), cures, _costs(e, found))


def _costs(e: Evidence, found: Stuck) -> float:
    """Who meets a full queue, and who finishes a handshake that nobody will take."""
    hang = e.finished_per_s(found.view) if found.whole and found.queues[0].accepted == 0 else 0.0
    return overflows_per_s(e, found.view) + hang


@rule(
    "app-not-accepting",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="the program does not accept",
    doc="an accept queue is full or overflows (critical), or connections wait in it and none was "
    "accepted between two looks, or they wait for a second or more while the queue does not get "
    "shorter (a warning from 3 s on). `why`: the process is `stopped` (by a signal, a debugger "
    "or the freezer of its cgroup), it or the whole system has no file descriptors left "
    "(`out-of-descriptors`), its cgroup has used up its CPU quota (`throttled`), it gets no CPU "
    "(`starved`), it computes or waits for something else (`blocked`), it accepts fewer "
    "connections than arrive (`slow`), or the reason is `unknown`",
    unless="the queue drains between bursts",
    advice="run the proposed command, which looks at the process; neither a release nor a longer queue helps",
    on_release=OnRelease.FORBIDS,
)
def app_not_accepting(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        found = stuck(e, view)
        if found is not None and found.whole:
            yield _hit(e, found, "app-not-accepting")


@rule(
    "member-not-accepting",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="one of several sockets or workers does not accept",
    doc="the same at some sockets of a `SO_REUSEPORT` group while the others drain, or for some "
    "workers of a pre-fork server",
    unless="all sockets or workers are stuck",
    advice="run the proposed command, which looks at the worker; its share of the clients hangs",
    rare=True,
    on_release=OnRelease.FORBIDS,
)
def member_not_accepting(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        found = stuck(e, view)
        if found is not None and not found.whole:
            yield _hit(e, found, "member-not-accepting")


@rule(
    "abort-on-overflow",
    Level.NOTICE,
    Level.CRITICAL,
    title="clients are reset when an accept queue overflows",
    doc="`tcp_abort_on_overflow` is 1 and accept queues overflowed; critical while they do",
    unless="no accept queue overflowed",
    advice="set it to 0: the kernel then ignores the client's ACK, and the client gets in when there is room",
    rare=True,
)
def abort_on_overflow(e: Evidence) -> Iterator[Hit]:
    if e.now.sample.settings.get("tcp_abort_on_overflow") and e.total("ListenOverflows"):
        level = Level.CRITICAL if e.rate("ListenOverflows") else Level.NOTICE
        facts = (Fact("ListenOverflows", e.total("ListenOverflows")),)
        cures = ((ChangeSetting(e.netns, ABORT, 0, "abort-on-overflow"),),)
        yield Hit(level, facts, cures=cures, costs_per_s=e.rate("ListenOverflows"), past=level is Level.NOTICE)
