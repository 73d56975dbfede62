"""SYN-ACKs that the host itself does not let out: a rule drops them, or nothing takes them.

`reqsk_timer_handler()` (net/ipv4/inet_connection_sock.c) gives a request up when its second SYN-ACK, due after a
second, cannot be sent. So none is ever older, however many retries there are, and the client begins again and again.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.sources import SOME, numbers_of
from halfopen.core.model.arrived import are_in
from halfopen.core.model.listeners import ListenerView

# The timer fires late, never early.
_DUE_S: Final = 1.2
_FIT: Final = 1.25
_AGAIN: Final = 0.1
# The second SYN-ACK is due at this age; ages are told apart in steps.
_TIMER_S: Final = 1.0
_STEP_S: Final = 0.2
# The fewest that come so far, in all looks.
_ENOUGH: Final = 10
# Of those who are as far from the timer again, and of those that come so far a second: handshakes that finish would
# have become fewer, and no timer would have run out for them.
_AS_MANY: Final = 0.4
# Of those that come so far in a second, as many may still wait.
_LET_OUT: Final = 0.2
# Standard deviations.
_SURE: Final = 2.0
# The same where it is not proven, and only kept in mind.
_PART: Final = 0.25
_PERHAPS: Final = 1.0


class Unsent(Struct, frozen=True):
    """gone: this many of a listener's requests came to their second SYN-ACK between the looks and were given up."""

    view: ListenerView
    gone: int


def unsent(e: Evidence) -> tuple[Unsent, ...]:
    """The listeners whose SYN-ACKs do not leave this host."""
    return e.once(_unsent)


def _unsent(e: Evidence) -> tuple[Unsent, ...]:
    columns, before = e.now.columns, e.before
    if columns is None or before is None or before.columns is None or not e.rates:
        return ()
    earlier = {view.key: place for place, view in enumerate(before.views)}
    # Who finished or was reset is gone as well; where it is not counted by source, all may be of these.
    others = e.rate("EmbryonicRsts") * e.interval_s
    others += 0.0 if e.counted else e.completions_per_s * e.interval_s
    found = []
    for place, view in enumerate(e.now.views):
        at = earlier.get(view.key)
        if at is None or view.retries == 0 or view.deferred or np.count_nonzero(e.at(place)) < SOME:
            continue
        if (_counted(e) or e.interval_s >= _DUE_S) and (ends := _end_at_the_timer(e, place, at)):
            found.append(Unsent(view, ends))
            continue
        here = e.at(place)
        if np.max(columns.ages_s[here]) >= _DUE_S or np.any(columns.retransmits[here]):
            continue
        theirs = before.columns.group_of == at
        ages = before.columns.ages_s[theirs]
        due = ages + e.interval_s >= _DUE_S
        kept = int(np.count_nonzero(columns.ages_s[here] >= e.interval_s))
        # Looks that do not fit together prove nothing: who is older than the time between them was there before.
        if not due.any() or np.max(ages) >= _DUE_S or kept > _FIT * np.count_nonzero(~due):
            continue
        # They begin again at once, unlike whom a release drops, or who has gone away.
        young = e.sources.numbers[here & (columns.ages_s < e.interval_s)]
        asked = numbers_of(before.columns)[theirs][due]
        asked = asked[~e.sources.completers.finished_now(asked)]
        again = int(np.count_nonzero(are_in(asked, young)))
        gone = again - round(others)
        # In a longer time some wait before they try once more.
        if gone >= max(SOME, _AGAIN * len(asked)):
            found.append(Unsent(view, gone))
    return tuple(found)


def perhaps_unsent(e: Evidence) -> bool:
    """Whether many requests of a listener seem to end at their second SYN-ACK: not proven by two looks that are close
    together, between which no packets were counted.
    """
    return e.once(_perhaps_unsent)


def _perhaps_unsent(e: Evidence) -> bool:
    if e.now.columns is None or e.before is None or e.before.columns is None or not e.rates:
        return False
    earlier = {view.key: place for place, view in enumerate(e.before.views)}
    asked = ((place, view) for place, view in enumerate(e.now.views) if view.retries and not view.deferred)
    return any(
        view.key in earlier and _end_at_the_timer(e, place, earlier[view.key], part=_PART, sure=_PERHAPS)
        for place, view in asked
    )


def _end_at_the_timer(e: Evidence, place: int, at: int, *, part: float = _AS_MANY, sure: float = _SURE) -> int:
    """How many requests of a listener were given up when their second SYN-ACK was due, between two looks; 0 where that
    is not known. place, at: the listener's, in the Model's `views` now and before. part: so many of them do not finish,
    at least, sure: by as many standard deviations.

    As many come to that age as were there a moment before, timers run out for them (`tcp_syn_ack_timeout()` counts each
    in TCPTimeouts), and hardly any is left, though neither do as many finish nor do more wait. Whoever answers sooner
    has no timer run out, and whoever answers later is seen after the second SYN-ACK.
    """
    columns, old = e.now.columns, None if e.before is None else e.before.columns
    if columns is None or old is None:
        return 0
    both = (columns, e.at(place)), (old, old.group_of == at)
    now_s, before_s = (one.ages_s[mine] for one, mine in both)
    looks = [now_s, before_s] if e.interval_s >= _DUE_S else [now_s]
    due = sum(_between(ages, _TIMER_S - _STEP_S, _TIMER_S) for ages in looks)
    sooner = sum(_between(ages, _TIMER_S - 2 * _STEP_S, _TIMER_S - _STEP_S) for ages in looks)
    last = sum(_between(ages, _TIMER_S - _STEP_S / 2, _TIMER_S) for ages in looks)
    if due < _ENOUGH or due < _AS_MANY * sooner or 2 * last < _AS_MANY * due:
        return 0
    per_s = due / len(looks) / _STEP_S
    least = _AS_MANY * per_s
    # A rule that limits a rate lets some out.
    for one, mine in both:
        if np.count_nonzero((one.ages_s[mine] >= _DUE_S) | (one.retransmits[mine] > 0)) > _LET_OUT * per_s:
            return 0
    if e.rate("TCPTimeouts") < least or e.rate("EmbryonicRsts") > least:
        return 0
    more_per_s = (len(now_s) - len(before_s)) / e.interval_s
    if _do_not_finish(e, place, looks, sure) - more_per_s < part * per_s:
        return 0
    return round(min(per_s, e.rate("TCPTimeouts")) * e.interval_s)


def _do_not_finish(e: Evidence, place: int, looks: list[NDArray[np.float32]], sure: float) -> float:
    """How many handshakes a second begin at a listener and do not finish meanwhile; looks: the ages (N,) of each.

    Without packets: of as many as are young, or as come to the second SYN-ACK, more than all that finish.
    """
    if _counted(e):
        flow = e.now.arrived.by_view[place]  # type: ignore[union-attr]
        return flow.per_s(flow.syns - flow.repeats - flow.finished - flow.resets)
    seconds = len(looks) * _STEP_S
    young = sum(_between(ages, 0.0, _STEP_S) for ages in looks)
    due = sum(_between(ages, _TIMER_S - _STEP_S, _TIMER_S) for ages in looks)
    seen, finished = max(young, due), e.completions_per_s * seconds
    return (seen - finished) / seconds if seen - finished >= sure * math.sqrt(seen) else 0.0


def _counted(e: Evidence) -> bool:
    return e.now.arrived is not None and e.now.arrived.packets


def _between(ages: NDArray[np.float32], low: float, high: float) -> int:
    return int(np.count_nonzero((ages >= low) & (ages < high)))
