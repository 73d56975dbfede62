"""SYN-ACKs that the host itself does not let out: a rule drops them, or nothing takes them.

`reqsk_timer_handler()` (net/ipv4/inet_connection_sock.c) gives a request up when its second SYN-ACK, due after a
second, cannot be sent. So none is ever older, however many retries there are, and the client begins again and again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.sources import SOME, numbers_of
from halfopen.core.model.arrived import are_in
from halfopen.core.model.listeners import ListenerView

# The timer fires late, never early.
_DUE_S: Final = 1.2
_FIT: Final = 1.25
_AGAIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Unsent:
    """gone: this many of a listener's requests came to their second SYN-ACK between the looks, and each began anew."""

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
