"""How many clients a second a cause costs, as far as counters tell: it decides which of two findings comes first."""

from __future__ import annotations

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.floods import floods, unanswered_share
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.turned_away import may_be_full


def dropped_syns_per_s(e: Evidence) -> float:
    """SYNs a second that were dropped for want of room in a SYN queue; nothing tells whose they were."""
    return max(0.0, e.rate("ListenDrops") - e.rate("ListenOverflows"))


def dropped_clients_per_s(e: Evidence) -> float:
    """Of these, clients': in a flood, the part that they have of what arrives."""
    every = floods(e)
    if not every:
        return dropped_syns_per_s(e)
    # A rate that is shared is that of all of these.
    shared = max((one.unanswered_per_s for one in every if one.shared), default=0.0)
    rate = shared + sum(one.unanswered_per_s for one in every if not one.shared)
    share = unanswered_share(e, rate, every[0].completions_per_s)
    return dropped_syns_per_s(e) * (1.0 - share)


def overflows_per_s(e: Evidence, view: ListenerView) -> float:
    """Handshakes a second that the accept queue of a listener had no room for."""
    rate = e.rate("ListenOverflows")
    if e.before is None:
        return rate
    earlier = next((one for one in e.before.views if one.key == view.key), view)
    if view.defers and not (may_be_full(view) or may_be_full(earlier)):
        return 0.0
    # SYNs that a listener drops for other reasons are counted there as well.
    return min(rate, max(0, view.drops - earlier.drops) / e.interval_s)
