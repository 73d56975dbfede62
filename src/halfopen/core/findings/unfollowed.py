"""SYNs that nobody follows up where no request lasts: each is answered by cookie, or given up after a second.

No queue shows such a flood. It is told by packets alone: SYNs from ever new addresses, of which no ACK comes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.model.arrived import ArrivedFlow
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import narrowest

# A share of all arrivals.
_MOST: Final = 0.5
# Clients that hear nothing ask again after 1 s and 2 s more: in a shorter time most of their SYNs seem to come once.
# A client that does hear answers within two round trips.
_LEAST_S: Final = 2.5
_ROUND_TRIPS: Final = 2.0
# Hardly any forged address comes twice.
_ONCE: Final = 0.8
# One network holds this share of them, where it is one.
_HELD: Final = 0.8


class UnfollowedSyns(Struct, frozen=True, eq=False):
    """SYNs a second at a listener that no ACK follows; handshakes a second that finish there; and the addresses, as
    numbers (N,), from which most of these SYNs came once.
    """

    where: ListenerView
    per_s: float
    finished_per_s: float
    numbers: NDArray[np.uint64]

    @property
    def distinct(self) -> int:
        """From how many addresses they came."""
        return len(self.numbers)


def unfollowed(e: Evidence) -> UnfollowedSyns | None:
    """The listener at which most SYNs are of addresses as if drawn, and are not followed up; None where none is, or
    where packets were not counted for long enough.
    """
    arrived = e.now.arrived
    least_s = max(_LEAST_S, _ROUND_TRIPS * e.sources.completers.round_trip_s())
    if arrived is None or not arrived.packets or arrived.all.seconds < least_s:
        return None
    flows = zip(e.now.views, arrived.by_view, strict=True)
    found = [one for view, flow in flows if _nothing_lasts(e, view) and (one := _at(e, view, flow)) is not None]
    return max(found, key=lambda one: one.per_s, default=None)


def sources_again(e: Evidence) -> int:
    """How many sources sent several SYNs, and neither an ACK nor anything else, in a time in which clients that hear
    nothing ask again; 0 where packets were not counted for that long.
    """
    arrived = e.now.arrived
    if arrived is None or not arrived.packets or arrived.all.seconds < _LEAST_S:
        return 0
    rows = arrived.sources
    silent = (rows["acks"] == 0) & (rows["finished"] == 0) & (rows["resets"] == 0)
    return int(np.count_nonzero(silent & (rows["syns"] > 1)))


def _nothing_lasts(e: Evidence, view: ListenerView) -> bool:
    return e.cookies == 2 or view.retries == 0


def _at(e: Evidence, view: ListenerView, flow: ArrivedFlow) -> UnfollowedSyns | None:
    came = flow.syns - flow.repeats
    # An ACK that comes too late is one of a client as well.
    silent = came - max(flow.acks, flow.finished) - flow.resets
    if silent < FEW or silent < _MOST * came or e.now.arrived is None:
        return None
    rows = e.now.arrived.sources
    theirs = rows[(rows["port"] == view.port) & (rows["syns"] > 0)]
    theirs = theirs[(theirs["acks"] == 0) & (theirs["finished"] == 0) & (theirs["resets"] == 0)]
    once = int(np.count_nonzero(theirs["syns"] == 1))
    if once < _ONCE * int(theirs["syns"].sum()) or once < FEW or narrowest(theirs["number"], _HELD) is not None:
        return None
    return UnfollowedSyns(view, flow.per_s(silent), flow.per_s(flow.finished), theirs["number"])
