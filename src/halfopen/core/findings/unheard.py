"""Clients that do not receive the SYN-ACK: they retransmit their SYN, and hardly any of them finishes."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.chance import keep_failing
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.lasting import Lasting
from halfopen.core.findings.sources import SOME
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Prefix, narrowest

# A share of the connections that last.
MOST: Final = 0.5
# A prefix that holds most of them is named.
_NAMED: Final = 0.9
# Of the handshakes that finish, the share that is late; and of clients that retransmit their SYN, the share that
# finishes.
_FAR: Final = 0.5
# Of the handshakes of these clients: a smaller share that never hears anything is no news on the Internet.
_PART: Final = 0.03
# Without eBPF, a source that finished a handshake within this time counts as one that finishes now.
_RECENT_S: Final = 3.0
# The SYN-ACK is sent again after 1 s, 3 s, 7 s and 15 s (RFC 6298). On a path that loses packets, each reaches some:
# at most this part of the connections is left.
_SECOND_S, _THIRD_S, _FIFTH_S = 1.0, 3.0, 15.0
_LEFT: Final = 0.75


class Unheard(Struct, frozen=True, eq=False):
    """The clients of one listener that receive no SYN-ACK, from one prefix or (None) from everywhere.

    place: the listener's place in the Model's `views`. lasting: their connections that last. requests (N,): a mask of
    all their requests, however young. beside_per_s: handshakes a second of the same sources that do finish, if only
    a part of their connections never does.
    """

    view: ListenerView
    place: int
    prefix: Prefix | None
    lasting: Lasting
    requests: NDArray[np.bool_]
    beside_per_s: float = 0.0


def unheard(e: Evidence) -> tuple[Unheard, ...]:
    """The clients that receive no SYN-ACK, for each listener that has any."""
    return e.once(_unheard)


def _unheard(e: Evidence) -> tuple[Unheard, ...]:
    found = []
    for place, view in enumerate(e.now.views):
        # With no retry the kernel gives a request up after a second, the time of the client's own first timeout: every
        # client then retransmits its SYN.
        if not view.half_open or view.retries == 0:
            continue
        theirs = e.at(place)
        again = e.sources.repeated & theirs
        if np.count_nonzero(again) < SOME:
            continue
        prefix = narrowest(e.sources.numbers[again], _NAMED)
        if prefix is not None:
            theirs &= e.sources.within(prefix)
        lasting = e.sources.among(theirs & e.sources.last)
        if lasting.repeated < lasting.count * MOST:
            continue
        beside = _finish_beside(e, place, prefix, again) if _more_finish(e, view, place, prefix, again) else 0.0
        if beside is not None:
            found.append(Unheard(view, place, prefix, lasting, theirs, beside))
    return tuple(found)


def _finish_beside(e: Evidence, place: int, prefix: Prefix | None, again: NDArray[np.bool_]) -> float | None:
    """The handshakes a second of these clients that finish, where those who ask again have no chance to: a part of
    their connections goes another way, as by one of two links. None where that is not known, or hardly any is cut.
    """
    arrived, known, port = e.now.arrived, e.sources.completers, e.now.views[place].port
    if arrived is None:
        return None
    flow = arrived.by_view[place]
    finished = flow.finished if prefix is None else known.now_within(prefix, port)
    late = flow.late if prefix is None else known.late_within(prefix, port)
    stay = e.sources.among(again).per_s * flow.seconds
    if stay < _PART * (finished + stay) or not keep_failing(finished, late, stay):
        return None
    return flow.per_s(finished)


def _more_finish(e: Evidence, view: ListenerView, place: int, prefix: Prefix | None, again: NDArray[np.bool_]) -> bool:
    """Whether more of these clients get through than keep retransmitting: then the path loses only a part of the
    packets.

    If most of the handshakes that finish are late, round trips are longer than a client's timer, and every client
    retransmits: then about as many finish as retransmit.
    """
    rate, arrived, known = e.sources.among(again).per_s, e.now.arrived, e.sources.completers
    if arrived is None:
        # A proxy or NAT gateway is one address, however many of its handshakes finish.
        theirs = known.finished_within(e.sources.numbers[again], _RECENT_S)
        if np.count_nonzero(theirs) >= MOST * len(theirs) and not _none_finishes_late(e, place, prefix):
            return True
        # The addresses that finished handshakes are known, their ports are not.
        return prefix is not None and known.lately_within(prefix, _RECENT_S) >= int(np.count_nonzero(again))
    flow = arrived.by_view[place]
    finished = flow.finished if prefix is None else known.now_within(prefix, view.port)
    late = flow.late if prefix is None else known.late_within(prefix, view.port)
    far = late >= max(SOME, _FAR * finished)
    return flow.per_s(finished) > rate * (_FAR if far else 1.0)


def _none_finishes_late(e: Evidence, place: int, prefix: Prefix | None) -> bool:
    """Whether hardly any handshake of these clients finishes after a later SYN-ACK, as the ages of those that wait
    tell.
    """
    columns = e.now.columns
    if columns is None:
        return False
    theirs = e.at(place) if prefix is None else e.at(place) & e.sources.within(prefix)
    ages = columns.ages_s[theirs & (columns.retransmits > 0)]
    span_s = min(float(np.max(ages, initial=0.0)), _FIFTH_S) - _THIRD_S
    second = np.count_nonzero((ages >= _SECOND_S) & (ages < _THIRD_S)) / (_THIRD_S - _SECOND_S)
    later = np.count_nonzero((ages >= _THIRD_S) & (ages < _FIFTH_S)) / span_s if span_s > 0 else 0.0
    return bool(later > _LEFT * second)
