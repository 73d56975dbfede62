"""The rate of a flood where SYN queues are full: the requests in such a queue say nothing about the rate of now."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.evidence import Evidence


class AtFullQueues(Struct, frozen=True):
    """SYNs a second of a flood at full queues, and how many of these were answered by a cookie that did not come back.
    shared: SYNs to other listeners are included.
    """

    per_s: float = 0.0
    cookies_per_s: float = 0.0
    shared: bool = False


def at_full_queues(e: Evidence) -> NDArray[np.bool_]:
    """The requests at listeners whose SYN queue is full, (N,); all requests if no queue is full any longer."""
    full = np.zeros(len(e.sources.numbers), dtype=bool)
    for view in e.full():
        full |= e.at(e.now.views.index(view))
    return full if np.any(full & e.sources.strange) else np.ones(len(full), dtype=bool)


def come_at_full_queues(e: Evidence, mask: NDArray[np.bool_]) -> AtFullQueues:
    """The SYNs a second of these strangers, by a mask (N,), at full queues.

    In one queue, their share of the SYNs is their share of the places, because every SYN takes the next free place.
    Across several queues places tell nothing: a long queue at which few SYNs arrive holds as many as one that is
    flooded.
    """
    if not e.cookies_unanswered_per_s:
        return AtFullQueues()
    full = at_full_queues(e)
    among = e.sources.strange & full
    places = [at for i in range(len(e.now.views)) if (at := e.at(i) & among).any()]
    theirs = [at for at in places if (mask & at).any()]
    if not theirs:
        return AtFullQueues()
    entered, cookies = e.entered_per_s(full), e.cookies_unanswered_per_s
    if len(theirs) == len(places):
        part = int(np.count_nonzero(mask & among)) / max(1, int(np.count_nonzero(among)))
        return AtFullQueues(part * (cookies + entered), part * cookies)
    arrived = e.now.arrived
    if arrived is None or not arrived.packets:
        return AtFullQueues(cookies + entered, cookies, shared=True)
    per_s = 0.0
    for flow, at in ((arrived.by_view[i], e.at(i) & among) for i in range(len(e.now.views))):
        part = int(np.count_nonzero(mask & at)) / max(1, int(np.count_nonzero(at)))
        per_s += part * flow.per_s(max(0, flow.syns - flow.repeats - flow.finished))
    return AtFullQueues(per_s, min(cookies, max(0.0, per_s - e.entered_per_s(mask & full))))
