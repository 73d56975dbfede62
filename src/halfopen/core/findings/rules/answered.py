"""Requests that are not half-open: their client answered a listener whose accept queue was full."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.model.listeners import ListenerView


def _answered(e: Evidence) -> list[ListenerView]:
    return [v for v in e.now.listeners if v.deferred and v.defers is False]


@rule(
    "answered",
    Level.NOTICE,
    title="clients answered, and there was no room",
    note=True,
    advice="the same as for a program that does not accept",
    doc="clients answered a listener, and the kernel ignored the ACK: the accept queue was full or, if none has ever "
    "overflowed, the kernel found no route back or no memory for the connection",
)
def answered(e: Evidence) -> Iterator[Hit]:
    # `tcp_v4_syn_recv_sock()` and its IPv6 twin count each ACK that met a full queue.
    never = e.now.sample.counters.get("ListenOverflows") == 0
    for view in _answered(e):
        room = (Fact("ListenOverflows", 0),) if never and not any(queue.full for queue in e.accept_queues(view)) else ()
        yield Hit(Level.NOTICE, (Fact("answered", view.deferred), *room), view)
