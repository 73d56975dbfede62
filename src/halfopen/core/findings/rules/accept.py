"""The accept queue: connections that finished their handshake and that the program does not take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import longer_queues
from halfopen.core.model.listeners import ListenerView

MOST: Final = 0.5


def _waiting(view: ListenerView) -> tuple[Fact, ...]:
    return (Fact("accept_queue", view.accept_queue, view.accept_queue_limit),)


@rule("accept-queue-full", Level.CRITICAL, doc="an accept queue is full: the program does not accept")
def accept_queue_full(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        if view.accept_queue_limit and view.accept_queue >= view.accept_queue_limit:
            yield Hit(Level.CRITICAL, _waiting(view), view, cures=longer_queues(e, view))


@rule("accept-queue-filling", Level.NOTICE, doc="an accept queue is more than half full")
def accept_queue_filling(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        limit = view.accept_queue_limit
        if limit and limit * MOST < view.accept_queue < limit:
            yield Hit(Level.NOTICE, _waiting(view), view)
