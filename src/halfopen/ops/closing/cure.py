"""Cures for existing connections: which are meant, by which means, and what came of it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.change import options_record
from halfopen.change.closers import Closers, meant
from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.errors import HalfopenError, KernelError, NotPermitted, UnknownTarget, UsageError, privilege
from halfopen.core.policy.connection_actions import (
    DESTROY,
    KEEPALIVE_ON,
    PROBE_PEERS,
    SHUT_DOWN,
    ChangeConnections,
    ChangedConnections,
    KeepaliveOptions,
    RestoreOptions,
)
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED, FIN_WAIT2, MINI, ORPHAN, STATES, OpenSockets
from halfopen.core.units import plural
from halfopen.linux import small_files
from halfopen.linux.identity import of_thread
from halfopen.linux.netns import Netns
from halfopen.linux.sockets import has_net_admin
from halfopen.ops.closing import by_descriptor, by_netlink, proving
from halfopen.ops.closing.jiffies import in_jiffies, in_seconds
from halfopen.read import closing, procfs

# The states that each cure touches where the filter names none, and at most.
_USUAL: Final = {
    KEEPALIVE_ON: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2),
    PROBE_PEERS: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2),
    SHUT_DOWN: (CLOSE_WAIT,),
    DESTROY: (CLOSE_WAIT,),
}
_POSSIBLE: Final = {**_USUAL, DESTROY: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2, 4, 9, 11)}
# A client that hung up this long ago waits for nothing any more.
_LEAST_AGE_S: Final = 10.0
# Packets that a CPU takes from loopback and veth at a time, where the setting is not shown.
_BACKLOG: Final = 1000
_STAYS: Final = 'the descriptors stay with their programs until these close them: it cures no "too many open files"'


@dataclass(frozen=True, slots=True, eq=False)
class MeantConnections:
    """The connections that an action means, as they were looked at."""

    sockets: OpenSockets
    looked_at_s: float

    def __len__(self) -> int:
        return len(self.sockets.rows)


def states_of(action: ChangeConnections) -> int:
    """The states an action may touch, a bit each. Raises: UsageError for a state that it never touches."""
    from halfopen.core.sample.closing import STATE_NAMES

    for state in action.filter.states:
        if state not in _POSSIBLE[action.how]:
            names = ", ".join(STATE_NAMES[one] for one in _POSSIBLE[action.how])
            raise UsageError(f"{action.how} never touches {STATE_NAMES[state]}", hint=f"it can be used on {names}")
    return sum(1 << state for state in action.filter.states or _USUAL[action.how])


def execute(
    action: ChangeConnections, ns: Netns, *, dry_run: bool = False, stop: threading.Event | None = None
) -> ChangedConnections:
    """Carry an action out in a namespace.

    Raises: UsageError (more match than may be touched), UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    began = time.monotonic()
    states = states_of(action)

    def work() -> ChangedConnections:
        if of_thread(ns) != action.where:
            raise UnknownTarget(f"network namespace {action.netns} was replaced by another one: nothing was changed")
        may_change()
        notes: list[str] = []
        outcome = ChangedConnections(action.how, action.netns, action.filter.describe())
        if action.how == KEEPALIVE_ON and _is_plain(action.filter):
            whole = _onto_all(action, states, outcome, dry_run=dry_run)
            if whole is not None:
                return whole
        found = victims(action, states, notes)
        outcome = replace(outcome, matched=len(found))
        _within(action, len(found))
        if dry_run or not len(found):
            return replace(outcome, dry_run=dry_run, notes=tuple(notes))
        return _DO[action.how](action, states, found, replace(outcome, notes=tuple(notes)), stop or threading.Event())

    outcome = ns.run(work)
    notes = (*outcome.notes, *_in_bursts(outcome)) if action.how == KEEPALIVE_ON else outcome.notes
    return replace(outcome, seconds=time.monotonic() - began, notes=notes)


def _in_bursts(outcome: ChangedConnections) -> tuple[str, ...]:
    """What is to be known of so many connections with keepalive.

    The kernel rounds a timer up by as much as an eighth (kernel/time/timer.c), so thousands of probes leave within one
    jiffy, and `enqueue_to_backlog()` takes netdev_max_backlog of them: 390,731 of 400,000 healthy connections over
    loopback were reset after five rounds (6.18).
    """
    text = small_files.text("/proc/sys/net/core/netdev_max_backlog")
    room = int(text) if text.isdigit() else _BACKLOG
    if outcome.matched <= room:
        return ()
    return (
        f"keepalive probes of {outcome.matched:,} connections leave in bursts, as the kernel rounds long timers: over "
        f"loopback and veth {room:,} packets are taken at a time (netdev_max_backlog), and a connection that loses all "
        "its probes is reset, although its peer is there",
    )


def _within(action: ChangeConnections, matched: int) -> None:
    """Raises: UsageError where more match than may be touched."""
    if matched > action.most:
        raise UsageError(
            f"{matched:,} connections match, more than --max {action.most:,}: nothing was changed",
            hint="narrow the filter, or raise --max",
        )


def may_change() -> None:
    """See whether this process may change connections of the calling thread's namespace. The kernel asks the eBPF way
    for CAP_BPF and CAP_PERFMON alone; we ask for what SOCK_DESTROY takes.

    Raises: NotPermitted.
    """
    import os

    if not has_net_admin():
        raise NotPermitted(
            "changing connections is refused", hint=privilege(os.geteuid(), "CAP_NET_ADMIN over the network namespace")
        )


def victims(action: ChangeConnections, states: int, notes: list[str]) -> MeantConnections:
    """The connections that are meant: of a process, certain, and with a cookie.

    Raises: as `closing.read`.
    """
    found = _look(action, states, notes)
    if len(found) and not found.sockets.rows["cookie"].all():
        # The kernel gives a socket its cookie when it is first asked for it.
        closing.give_cookies(states)
        notes.clear()
        found = _look(action, states, notes)
    keep = found.sockets.rows["cookie"] != 0
    return replace(found, sockets=found.sockets.chosen(keep))


def _look(action: ChangeConnections, states: int, notes: list[str]) -> MeantConnections:
    sockets = closing.read("auto", states, with_owners=True, notes=notes)
    rows = sockets.rows
    keep = action.filter.mask(sockets) & (rows["flags"] & MINI == 0)
    if action.how != DESTROY or not action.filter.states:
        # A connection that waits for accept() is the kernel's, and an orphan ends by itself.
        keep &= (rows["inode"] != 0) & (rows["flags"] & ORPHAN == 0)
    if action.how == PROBE_PEERS:
        # The kernel sends no keepalive probe while data waits for its ACK (tcp_keepalive_timer()): no answer would be
        # told of a peer that is there.
        asked = rows["unacked"] == 0
        _tell_unasked(int(np.count_nonzero(keep & ~asked)), notes)
        keep &= asked
    if action.how in (SHUT_DOWN, DESTROY):
        # What was sent lately may be an answer, what came lately may be about to be read.
        quiet_s = np.minimum(rows["received_ms"], rows["sent_ms"]) / 1000
        keep &= quiet_s >= (_LEAST_AGE_S if action.filter.idle_s is None else action.filter.idle_s)
    return MeantConnections(sockets.chosen(keep), sockets.looked_at_s)


def _tell_unasked(n: int, notes: list[str]) -> None:
    if n:
        notes.append(
            f"{plural(n, 'connection')} with data that the peer has not acknowledged {'is' if n == 1 else 'are'} not "
            "probed: the kernel retransmits the data or probes the closed window, and `halfopen closing` tells from "
            "that whether the peer is there"
        )


def _closers(n: int, notes: list[str]) -> Closers | None:
    """The eBPF programs with room for so many; None, and why, where they may not be used."""
    try:
        return Closers(n)
    except HalfopenError as e:
        notes.append(f"not under the connection's lock: {e.message}")
        return None


def _is_plain(filter: ClosingFilter) -> bool:
    """Whether the program in the kernel can judge the filter by itself."""
    return not (filter.processes or filter.peers or filter.kinds)


def _onto_all(
    action: ChangeConnections, states: int, outcome: ChangedConnections, *, dry_run: bool
) -> ChangedConnections | None:
    """Keepalive onto every connection in some states, of which neither processes nor cookies are asked: the program in
    the kernel judges each as it comes to it. None where that may not be used.

    Connections that wait for accept() and those that nobody holds are set as well, which does no harm.
    """
    options = action.options or KeepaliveOptions()
    try:
        # To count a million takes a tenth of a second. That is needed only where there may be more than are allowed.
        matched = 0
        if dry_run or sum(procfs.socket_totals()) > action.most:
            matched = _how_many(action.filter, states)
            _within(action, matched)
        outcome = replace(outcome, matched=matched, dry_run=dry_run)
        if dry_run:
            return outcome
        programs = Closers()
    except UsageError:
        raise
    except HalfopenError:
        return None  # the other ways are tried, and say why
    with programs:
        id = uuid.uuid4().hex[:8]
        options_record.begin(id, action.where)
        rows = programs.retrofit_all(options, states, in_jiffies(action.filter.idle_s or 0.0))
        if not len(rows):
            options_record.drop(id)
            return outcome
        done = replace(
            outcome,
            matched=max(matched, len(rows)),
            done=len(rows),
            spared=max(matched - len(rows), 0),
            failed=programs.failures,
            way="bpf",
            problems=_refused(programs),
        )
    return _recorded(done, id, rows, options)


def _how_many(filter: ClosingFilter, states: int) -> int:
    """Connections that a plain filter means. Raises: as `closing.read`."""
    if filter.idle_s is None:
        counts = closing.count()
        return sum(counts.of(state) for state in range(STATES) if states >> state & 1) - (
            counts.orphaned if states >> FIN_WAIT2 & 1 else 0
        )
    sockets = closing.read("bpf", states, with_owners=False, notes=[])
    return int(np.count_nonzero(filter.mask(sockets) & (sockets.rows["flags"] & MINI == 0)))


def _keepalive(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    options, notes = action.options or KeepaliveOptions(), list(outcome.notes)
    id = uuid.uuid4().hex[:8]
    options_record.begin(id, action.where)
    programs = _closers(len(found), notes)
    if programs is None:
        rows, failed = by_descriptor.set_options(found.sockets, options, stop)
        done = replace(outcome, done=len(rows), failed=failed, spared=len(found) - len(rows) - failed, way="descriptor")
    else:
        with programs:
            rows = programs.retrofit(found.sockets.rows["cookie"], meant(len(found), options), states)
            done = replace(
                outcome,
                done=len(rows),
                spared=outcome.matched - len(rows),
                failed=programs.failures,
                way="bpf",
                problems=_refused(programs),
            )
    return _recorded(replace(done, notes=tuple(notes)), id, rows, options)


def _recorded(done: ChangedConnections, id: str, rows: NDArray[Any], options: KeepaliveOptions) -> ChangedConnections:
    """The outcome of a keepalive with its record, which an undo takes."""
    try:
        options_record.add(id, rows)
    except HalfopenError as e:
        done = replace(done, problems=(*done.problems, e.line()))
    notes = list(done.notes)
    if options.idle_s is not None or options.interval_s is not None or options.probes is not None:
        notes.append(
            "the kernel cannot unset TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT: an undo writes the numbers of the "
            "sysctls where they were not set"
        )
    return replace(done, record=id, notes=tuple(notes))


def _refused(programs: Closers) -> tuple[str, ...]:
    if not programs.failures:
        return ()
    return (KernelError("changing connections", programs.errno).message,)


def restore(action: RestoreOptions, ns: Netns, *, dry_run: bool = False) -> ChangedConnections:
    """Undo a keepalive by its record. In a dry run, those match that still exist; else all of the record.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, JournalError.
    """
    began = time.monotonic()
    record = options_record.load(action.id)

    def work() -> ChangedConnections:
        if of_thread(ns) != record.where:
            raise UnknownTarget(
                f"the record {action.id} is of another network namespace", hint="name that one with --netns"
            )
        may_change()
        notes: list[str] = []
        outcome = ChangedConnections("undo", ns.name, f"record {action.id}", matched=len(record.rows))
        if dry_run:
            return replace(outcome, matched=_still_there(record.rows, notes), dry_run=True, notes=tuple(notes))
        return replace(_set_back(record.rows, outcome, notes), notes=tuple(notes))

    outcome = ns.run(work)
    if outcome.failed:
        kept = f"the record {action.id} is kept: the undo can be tried again"
        outcome = replace(outcome, notes=(*outcome.notes, kept))
    elif not dry_run:
        options_record.drop(action.id)
    return replace(outcome, seconds=time.monotonic() - began)


def _still_there(rows: NDArray[Any], notes: list[str]) -> int:
    """How many of K records (dtype ACTED) are of a connection that still exists."""
    states = sum(1 << state for state in _USUAL[KEEPALIVE_ON])
    found = closing.read("auto", states, with_owners=False, notes=notes).rows
    return int(np.count_nonzero(np.isin(rows["cookie"], found["cookie"][found["flags"] & MINI == 0])))


def _set_back(rows: NDArray[Any], outcome: ChangedConnections, notes: list[str]) -> ChangedConnections:
    states = sum(1 << state for state in _USUAL[KEEPALIVE_ON])
    programs = _closers(len(rows), notes)
    if programs is None:
        by_hand = by_descriptor.Duplicates(closing.read("auto", states, with_owners=True, notes=notes))
        done = len(by_hand.retrofit(rows["cookie"], as_they_were(rows), states))
        spared = len(rows) - done - by_hand.failures
        return replace(outcome, done=done, spared=spared, failed=by_hand.failures, way=by_hand.way)
    with programs:
        done = len(programs.retrofit(rows["cookie"], as_they_were(rows), states))
        problems, failed = _refused(programs), programs.failures
        return replace(outcome, done=done, spared=len(rows) - done, failed=failed, way=programs.way, problems=problems)


def as_they_were(rows: NDArray[Any]) -> NDArray[Any]:
    """MEANT rows (K,) that set the options of K records (dtype ACTED) again; a number of the sysctls stands for "not
    set", which the kernel does not take.
    """
    usual = proving.keepalive_settings()
    wanted = meant(len(rows))
    wanted["keepalive"], wanted["user_timeout_ms"] = rows["keepalive"], rows["user_timeout_ms"]
    wanted["idle_s"] = np.where(rows["idle"] == 0, usual[0], in_seconds(rows["idle"]))
    wanted["interval_s"] = np.where(rows["interval"] == 0, usual[1], in_seconds(rows["interval"]))
    wanted["probes"] = np.where(rows["probes"] == 0, usual[2], rows["probes"])
    return wanted


def _probe(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    notes = [*outcome.notes]
    programs = _closers(len(found), notes)
    outcome = replace(outcome, notes=tuple(notes))
    if programs is None:
        by_hand = by_descriptor.Duplicates(found.sockets)
        return proving.probe(by_hand, found.sockets, states, outcome, as_they_were, stop)
    with programs:
        return proving.probe(programs, found.sockets, states, outcome, as_they_were, stop)


def _shut_down(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    done, failed, window_s, why = by_descriptor.shut_down(found.sockets, found.looked_at_s, stop)
    return replace(
        outcome,
        done=done,
        failed=failed,
        spared=len(found) - done - failed,
        way="descriptor",
        window_ms=window_s * 1000,
        problems=(why,) if why else (),
        notes=(*outcome.notes, _STAYS),
    )


def _destroy(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    notes = [*outcome.notes]
    rows = found.sockets.rows
    programs = _closers(len(found), notes)
    if programs is not None:
        with programs:
            wanted = meant(len(found))
            wanted["state"], wanted["unread"] = rows["state"], rows["unread"]
            least_s = _LEAST_AGE_S if action.filter.idle_s is None else action.filter.idle_s
            acted = programs.destroy(rows["cookie"], wanted, states, in_jiffies(least_s))
            failed, problems = programs.failures, _refused(programs)
        done = len(acted) - failed
        result = replace(outcome, done=done, failed=failed, way="bpf", problems=problems)
    else:
        result = by_netlink.end(action, found.sockets, states, outcome)
        notes.append(
            f"by netlink, {result.window_ms:.0f} ms after the last look at most: a connection that became active in "
            "that time was hit all the same"
        )
    spared = len(found) - result.done - result.failed
    return replace(result, spared=spared, notes=(*notes, _STAYS))


_Do = Callable[[ChangeConnections, int, MeantConnections, ChangedConnections, threading.Event], ChangedConnections]
_DO: Final[dict[str, _Do]] = {
    KEEPALIVE_ON: _keepalive,
    PROBE_PEERS: _probe,
    SHUT_DOWN: _shut_down,
    DESTROY: _destroy,
}
