"""Why a process does not accept, judged by what it was doing while connections waited."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact
from halfopen.core.sample import Process
from halfopen.core.sample.workers import OpenFiles, Workers, WorkerState

STOPPED: Final = "stopped"
NO_DESCRIPTORS: Final = "out-of-descriptors"
THROTTLED: Final = "throttled"
STARVED: Final = "starved"
BLOCKED: Final = "blocked"
SLOW: Final = "slow"
UNKNOWN: Final = "unknown"
WORST: Final = (STOPPED, NO_DESCRIPTORS, THROTTLED, BLOCKED, STARVED, SLOW, UNKNOWN)
# Functions in which a server waits for the next event (include/linux/poll.h, fs/eventpoll.c, net/ipv4): a server that
# waits there while connections wait is kept from accepting by its own logic.
FOR_EVENTS: Final = frozenset(
    {
        *("ep_poll", "do_epoll_wait", "do_poll", "do_sys_poll", "do_select", "core_sys_select"),
        *("poll_schedule_timeout", "io_cqring_wait", "inet_csk_accept", "inet_csk_wait_for_connect"),
    }
)
# Where a task waits while the freezer of its cgroup stops it (kernel/freezer.c; do_freezer_trap(), kernel/signal.c).
FREEZER: Final = frozenset({"__refrigerator", "do_freezer_trap"})
# A share of the periods of a quota, or of the interval.
_MOST: Final = 0.5
# A share of one CPU, above which a process computes.
_BUSY: Final = 0.9


class Holder(Struct, frozen=True):
    """A process that accepts on a socket, as it is now and as it was in the look before, where it was looked at.

    interval_s: the time between the two. stranger: it may hold the socket without accepting on it, because it is
    another program than its parent, which holds the socket as well, or perhaps the parent of a worker that was not
    looked at. files: open files of the whole system.
    """

    process: Process
    now: WorkerState | None = None
    before: WorkerState | None = None
    interval_s: float = 1.0
    stranger: bool = False
    files: OpenFiles | None = None


class Obstacle(Struct, frozen=True):
    """Why a process does not accept, and the facts that decide it."""

    holder: Holder
    why: str
    facts: tuple[Fact, ...] = ()


def holders(e: Evidence, inodes: Iterable[int]) -> list[Holder]:
    """The processes that may accept on these sockets, without those that only supervise them.

    A pre-fork server opens its sockets before it forks; the parent keeps them and accepts nothing. Where the child is
    another program, either may be the one that accepts: the parent counts when something keeps it from accepting.
    """
    processes = {p.pid: p for inode in inodes for p in e.now.sample.owners.get(inode, ())}
    now = e.workers
    before = now.earlier or Workers(now.monotonic_s - e.interval_s)
    between_s = max(now.monotonic_s - before.monotonic_s, 1e-3)
    everyone = {
        pid: Holder(process, now.by_pid.get(pid), before.by_pid.get(pid), between_s, files=now.files)
        for pid, process in sorted(processes.items())
    }
    watching: set[int] = set()
    unseen = any(one.now is None for one in everyone.values())
    for pid, one in everyone.items():
        if unseen and one.now is not None and one.now.parent not in everyone:
            # This may be the parent of a process that there was no time to look at.
            everyone[pid] = replace(one, stranger=True)
        parent = everyone.get(one.now.parent) if one.now is not None else None
        if parent is None:
            continue
        if _program(parent.process) != _program(one.process):
            everyone[pid] = replace(one, stranger=True)
            if reason(replace(parent, stranger=True), None) is not None:
                continue
        watching.add(parent.process.pid)
    return [one for pid, one in everyone.items() if pid not in watching]


def _program(process: Process) -> str:
    """The name without the part that says which process it is: `gunicorn: worker`, `uWSGI worker 1`."""
    return re.split("[ :]", process.name, maxsplit=1)[0]


def reason(one: Holder, accepted: int | None) -> Obstacle | None:
    """The obstacle that keeps a process from accepting, by the facts about it alone; None if these do not show one.

    accepted: how many connections were accepted at most between the looks; None: not known.
    """
    now = one.now
    if now is None:
        return None
    if now.frozen or FREEZER & {*now.waits_in}:
        return Obstacle(one, STOPPED, (Fact("state", now.state), Fact("frozen", now.frozen)))
    if now.state in ("T", "t"):
        traced = (Fact("tracer", now.tracer),) if now.state == "t" and now.tracer else ()
        return Obstacle(one, STOPPED, (Fact("state", now.state), *traced))
    if now.descriptors is not None and now.descriptor_limit is not None and now.descriptors >= now.descriptor_limit:
        return Obstacle(one, NO_DESCRIPTORS, (Fact("descriptors", now.descriptors, now.descriptor_limit),))
    if one.files is not None and one.files.count >= one.files.limit and not now.exempt:
        # accept() returns ENFILE (`alloc_empty_file()`).
        return Obstacle(one, NO_DESCRIPTORS, (Fact("open_files", one.files.count, one.files.limit),))
    return _short_of_cpu(one, now) or (_blocked(one, now) if accepted == 0 and not one.stranger else None)


def _short_of_cpu(one: Holder, now: WorkerState) -> Obstacle | None:
    before = one.before
    if before is None:
        return None
    was = {quota.directory: quota for quota in before.quotas}
    for quota in now.quotas:
        if (old := was.get(quota.directory)) is not None and quota.throttled > old.throttled:
            periods, throttled = quota.periods - old.periods, quota.throttled - old.throttled
            if throttled >= periods * _MOST:
                facts = Fact("throttled_periods", throttled, max(periods, throttled)), Fact("cgroup", quota.directory)
                return Obstacle(one, THROTTLED, facts)
    queued = (now.queued_s - before.queued_s) / one.interval_s
    if queued >= _MOST and now.queued_s - before.queued_s > now.ran_s - before.ran_s:
        return Obstacle(one, STARVED, (Fact("waited_for_cpu_share", round(min(queued, 1.0), 2), _MOST),))
    return None


def _blocked(one: Holder, now: WorkerState) -> Obstacle | None:
    """Whether none of its threads waits for events: all wait for something else, or the process computes."""
    before = one.before
    if before is None:
        return None
    cpu = (now.ran_s - before.ran_s) / one.interval_s
    if cpu >= _BUSY:
        return Obstacle(one, BLOCKED, (Fact("cpu_share", round(cpu, 2), _BUSY),))
    if now.state == before.state == "D":
        return Obstacle(one, BLOCKED, (Fact("state", "D"), *_waits(now)))
    # A thread that runs, or hides where it waits, may be about to accept.
    if all(look.whole and look.waits_in and not {*FOR_EVENTS, ""} & {*look.waits_in} for look in (now, before)):
        return Obstacle(one, BLOCKED, (Fact("state", now.state), *_waits(now)))
    return None


def _waits(now: WorkerState) -> tuple[Fact, ...]:
    named = [name for name in now.waits_in if name]
    return (Fact("waits_in", named[0]),) if named else ()


def otherwise(one: Holder, accepted: int | None) -> Obstacle:
    """The reason if nothing keeps the process from accepting: it is slow, or the reason is not known."""
    now, before = one.now, one.before
    facts: list[Fact] = []
    if now is not None and before is not None:
        facts.append(Fact("cpu_share", round((now.ran_s - before.ran_s) / one.interval_s, 2)))
        for name, a, b in (
            ("cpu_pressure", now.cpu_stalled_s, before.cpu_stalled_s),
            ("io_pressure", now.io_stalled_s, before.io_stalled_s),
        ):
            if a is not None and b is not None:
                facts.append(Fact(name, round((a - b) / one.interval_s, 2)))
    if accepted:
        return Obstacle(one, SLOW, tuple(facts))
    return Obstacle(one, UNKNOWN, (*facts, *(_waits(now) if now is not None else ())))
