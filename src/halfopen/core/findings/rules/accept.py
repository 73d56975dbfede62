"""The accept queue: connections that finished their handshake and that the program does not take."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import AcceptQueue, Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import longer_queues, look_at_process
from halfopen.core.model.listeners import ListenerView


def _facts(e: Evidence, queue: AcceptQueue, view: ListenerView) -> tuple[Fact, ...]:
    found = [Fact("accept_queue", queue.held, queue.cap), Fact("sockets", view.members)]
    if queue.accepted is not None:
        found += [Fact("accepted_at_most", queue.accepted), Fact("interval_s", round(e.interval_s, 2), unit="s")]
    overflows = e.rate("ListenOverflows")
    if overflows:
        found.append(Fact("overflows_per_s", round(overflows, 1), unit="per_s"))
    return tuple(found)


def _stuck(queue: AcceptQueue) -> bool:
    """Whether it is full, or nothing was accepted though connections wait."""
    return queue.full or (queue.held > 0 and bool(queue.before) and queue.accepted == 0)


def _level(queue: AcceptQueue) -> Level:
    if queue.full:
        return Level.CRITICAL
    return Level.WARNING if queue.held * 2 > queue.cap else Level.NOTICE


def _cures(e: Evidence, view: ListenerView, queue: AcceptQueue, reason: str) -> tuple[Cure, ...]:
    """The process first; a longer queue helps only a program that accepts at all."""
    slow = queue.accepted is None or queue.accepted > 0
    return (*look_at_process(view, reason), *(longer_queues(e, view, reason) if queue.full and slow else ()))


def stuck(e: Evidence, view: ListenerView) -> list[AcceptQueue]:
    """The accept queues of a listener that are full or that nothing is accepted from, the fullest first."""
    return sorted(filter(_stuck, e.accept_queues(view)), key=lambda q: -q.held / q.cap)


@rule(
    "app-not-accepting",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="the program does not accept",
    doc="an accept queue is full (critical), or connections wait in it and none was accepted between two looks",
    unless="the queue drains between bursts",
    advice="look at the process that is named; releasing half-open connections does not help",
)
def app_not_accepting(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        found = stuck(e, view)
        if found and len(found) == view.members:
            cures = _cures(e, view, found[0], "app-not-accepting")
            yield Hit(_level(found[0]), _facts(e, found[0], view), view, ("backlog-small",), cures)


@rule(
    "member-not-accepting",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="one of several sockets is not accepted from",
    doc="the same of some sockets of a `SO_REUSEPORT` group, while the others drain",
    unless="all of them are stuck",
    advice="look at the worker that holds the socket; its share of the clients hangs",
)
def member_not_accepting(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        found = stuck(e, view)
        if found and len(found) < view.members:
            facts = (*_facts(e, found[0], view), Fact("stuck_sockets", len(found)), *_worker(e, found[0]))
            yield Hit(_level(found[0]), facts, view, ("backlog-small",), look_at_process(view, "member-not-accepting"))


def _worker(e: Evidence, queue: AcceptQueue) -> tuple[Fact, ...]:
    """The process that holds the socket, where it alone does."""
    owners = e.now.sample.owners.get(queue.inode, ())
    return (Fact("process", f"{owners[0].name} (pid {owners[0].pid})"),) if len(owners) == 1 else ()
