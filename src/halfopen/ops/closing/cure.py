"""Carries out changes of existing connections, each by the best means that this host allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from halfopen.change.closers import meant
from halfopen.core.errors import UnknownTarget
from halfopen.core.policy.connection_actions import (
    DESTROY,
    KEEPALIVE_ON,
    PROBE_PEERS,
    SHUT_DOWN,
    ChangeConnections,
    ChangedConnections,
)
from halfopen.core.policy.connection_notes import STAYS, WINDOW
from halfopen.linux.identity import of_thread
from halfopen.linux.netns import Netns
from halfopen.ops.closing import by_descriptor, by_netlink, proving, retrofitting
from halfopen.ops.closing.jiffies import quiet_jiffies
from halfopen.ops.closing.under_lock import closers, refused
from halfopen.ops.closing.victims import LEAST_AGE_S, MeantConnections, may_change, states_of, victims, within


def execute(
    action: ChangeConnections, ns: Netns, *, dry_run: bool = False, stop: threading.Event | None = None
) -> ChangedConnections:
    """Carry an action out in a namespace; in a dry run only count what it would touch.

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
        if action.how == KEEPALIVE_ON and retrofitting.is_plain(action.filter):
            whole = retrofitting.onto_all(action, states, outcome, dry_run=dry_run)
            if whole is not None:
                return whole
        found = victims(action, states, notes)
        outcome = replace(outcome, matched=len(found))
        within(action, len(found))
        if dry_run or not len(found):
            return replace(outcome, dry_run=dry_run, notes=tuple(notes))
        return _DO[action.how](action, states, found, replace(outcome, notes=tuple(notes)), stop or threading.Event())

    outcome = ns.run(work)
    notes = (*outcome.notes, *retrofitting.in_bursts(outcome)) if action.how == KEEPALIVE_ON else outcome.notes
    notes += retrofitting.left_open(action.where)
    return replace(outcome, seconds=time.monotonic() - began, notes=notes)


def _probe(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    notes = [*outcome.notes]
    programs = closers(len(found), notes)
    outcome = replace(outcome, notes=tuple(notes))
    if programs is None:
        by_hand = by_descriptor.Duplicates(found.sockets)
        return proving.probe(by_hand, action.where, found.sockets, states, outcome, retrofitting.as_they_were, stop)
    with programs:
        return proving.probe(programs, action.where, found.sockets, states, outcome, retrofitting.as_they_were, stop)


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
        notes=(*outcome.notes, STAYS),
    )


def _destroy(
    action: ChangeConnections, states: int, found: MeantConnections, outcome: ChangedConnections, stop: threading.Event
) -> ChangedConnections:
    notes = [*outcome.notes]
    rows = found.sockets.rows
    programs = closers(len(found), notes)
    if programs is not None:
        with programs:
            wanted = meant(len(found))
            wanted["state"], wanted["unread"] = rows["state"], rows["unread"]
            least_s = LEAST_AGE_S if action.filter.idle_s is None else action.filter.idle_s
            acted = programs.destroy(rows["cookie"], wanted, states, quiet_jiffies(least_s))
            failed, problems = programs.failures, refused(programs)
        done = len(acted) - failed
        result = replace(outcome, done=done, failed=failed, way="bpf", problems=problems)
    else:
        result = by_netlink.end(action, found.sockets, states, outcome)
        notes.append(WINDOW.format(ms=f"{result.window_ms:.0f}"))
    spared = len(found) - result.done - result.failed
    return replace(result, spared=spared, notes=(*notes, STAYS))


_Do = Callable[[ChangeConnections, int, MeantConnections, ChangedConnections, threading.Event], ChangedConnections]
_DO: Final[dict[str, _Do]] = {
    KEEPALIVE_ON: retrofitting.keepalive,
    PROBE_PEERS: _probe,
    SHUT_DOWN: _shut_down,
    DESTROY: _destroy,
}
