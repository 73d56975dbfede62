"""Whether a reading shows nothing that any rule judges: known without the rules, which take long to load."""

from __future__ import annotations

from typing import Final

from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES
from halfopen.core.model.model import Model
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.core.sample.requests import Requests

# Parts of a Sample that by themselves show nothing.
_PLAIN: Final = (Requests, BeforeTcp)
# Once one of these has counted, the rules say what of.
_EVENTS: Final = ("SyncookiesSent", "SyncookiesRecv", "TCPReqQFullDrop", "TCPReqQFullDoCookies")
# Settings, by values of which no rule says anything.
_HARMLESS: Final = {"tcp_syncookies": (1,), "tcp_abort_on_overflow": (0,)}
_ROOM: Final = 0.9


def nothing_to_judge(now: Model) -> bool:
    """Whether the only look at a namespace shows an idle one, read as a whole, whose listeners dropped nothing."""
    sample = now.sample
    if now.half_open or now.deferred or now.full or now.orphans or now.may_have_answered or now.rates:
        return False
    if not sample.completeness.whole or sample.completeness.notes:
        return False
    counters = sample.counters
    if any(counters.get(name) for name in _EVENTS):
        return False
    # Accept queues that overflowed were those of listeners that are gone; nothing else had SYNs dropped.
    if counters.get("ListenDrops", 0) > counters.get("ListenOverflows", 0):
        return False
    if any(sample.settings.get(name, values[0]) not in values for name, values in _HARMLESS.items()):
        return False
    if not 0 < now.retries <= DEFAULT_SYNACK_RETRIES:
        return False
    if not all(isinstance(part, _PLAIN) for part in sample.parts) or _is_nearly_full(sample.part(BeforeTcp)):
        return False
    return not any(view.accept_queue or view.held or view.drops or view.retries == 0 for view in now.views)


def _is_nearly_full(part: BeforeTcp | None) -> bool:
    table = None if part is None else part.conntrack
    return table is not None and table.limit > 0 and table.count >= _ROOM * table.limit
