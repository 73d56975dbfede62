"""SYN queues that are filled by connections that finished the handshake and wait for data (TCP_DEFER_ACCEPT)."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.proven import proven
from halfopen.core.model.listeners import ListenerView

# Of the queue, and of what is in it.
_MOST: Final = 0.5


class Filled(Struct, frozen=True):
    """A listener whose SYN queue is taken by deferred connections, at least this many, more than by others; full: no
    SYN finds room.
    """

    view: ListenerView
    deferred: int
    full: bool


def filled(e: Evidence) -> tuple[Filled, ...]:
    """The listeners of which that is so, the most first."""
    return e.once(_filled)


def _filled(e: Evidence) -> tuple[Filled, ...]:
    columns, found = e.now.columns, []
    if columns is None:
        return ()
    full = list(e.full())
    for place, view in enumerate(e.now.views):
        # An ACK that met a full accept queue looks the same, and so does a host that never means to send data.
        if not view.defers or not view.deferred or any(queue.full for queue in e.accept_queues(view)):
            continue
        # By timers alone the young ones may be half-open as well: these are certain.
        deferred = int(np.count_nonzero(columns.is_deferred & e.at(place)))
        if deferred >= _MOST * max(1, view.syn_queue_limit or 0, view.held) and not proven(e, place, view)[0]:
            found.append(Filled(view, deferred, view in full))
    return tuple(sorted(found, key=lambda one: -one.deferred))
