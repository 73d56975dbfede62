"""Whether the verdict on an idle reading still holds: known without the rules, which go through every listener."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.lost import LEAST_LOST_PER_S, LostRates, lost_by_queues
from halfopen.core.model.model import Model
from halfopen.core.model.unchanged import all_unchanged
from halfopen.core.sample.guard import Guards

# Rules speak of these as soon as they count.
_RATES: Final = ("OutRsts", "EmbryonicRsts", "TCPTimeouts", "TCPTimeWaitOverflow", "IPReversePathFilter")
# A rule may speak of what these counted since the namespace was made, so they may not have risen.
_TOTALS: Final = (
    *("ListenOverflows", "ListenDrops", "SyncookiesSent", "SyncookiesRecv", "TCPReqQFullDrop", "TCPReqQFullDoCookies"),
    *("IPReversePathFilter", "TCPTimeWaitOverflow", "PruneCalled", "RcvPruned", "OfoPruned", "TCPRcvQDrop"),
)


def at_rest(now: Model, lost: LostRates) -> bool:
    """Whether a reading shows nothing of the moment, so that a verdict on it is about settings and the past alone.

    lost: the packets that are lost before TCP now.
    """
    rates = now.rates or {}
    if now.half_open or now.deferred or any(rates.get(name) for name in (*_RATES, *_TOTALS)):
        return False
    if lost.conntrack_drops or lost.ruled_out >= LEAST_LOST_PER_S or lost_by_queues(lost)[0]:
        return False
    guards = now.sample.part(Guards)
    return guards is None or not guards.found


def verdict_holds(judged: Model, now: Model) -> bool:
    """Whether nothing that a rule reads changed from one reading at rest to another."""
    counters, old = now.sample.counters, judged.sample.counters
    return all_unchanged(now.sample, judged.sample) and all(counters.get(name) == old.get(name) for name in _TOTALS)
