"""Connections that finished the handshake and wait for data, on listeners that defer (TCP_DEFER_ACCEPT)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.costs import dropped_clients_per_s, dropped_syns_per_s
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.deferred import Filled, filled
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import cookies_on, longer_queues
from halfopen.core.policy.actions import ChangeListener
from halfopen.core.tune.keys import DEFER

# Data comes with the last ACK, or a moment later.
_DEFER_S: Final = 1


@rule(
    "deferred-accept",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="connections that wait for data fill the SYN queue (`TCP_DEFER_ACCEPT`)",
    doc="a SYN queue is full, and at least half of its connections finished the handshake and wait "
    "for data: new clients get a SYN cookie (a warning) or, with cookies off, are turned away "
    "(critical); only a notice while the queue is not full",
    unless="the queue is not full, the accept queue is full too, or hosts are proven to send nothing (`acked-flood`)",
    advice="a shorter `TCP_DEFER_ACCEPT`: `halfopen tune listener :443 --defer-accept 1s`; a longer queue",
    rare=True,
    note_below=Level.WARNING,
)
def deferred_accept(e: Evidence) -> Iterator[Hit]:
    harmed = [one for one in filled(e) if one.full]
    for one in harmed:
        level = Level.WARNING if e.cookies else Level.CRITICAL
        costs = 0.0 if e.cookies else dropped_clients_per_s(e)
        yield Hit(level, _facts(e, one), one.view, ("backlog-small",), _cures(e, one), costs)
    told = {one.view.key for one in harmed}
    others = [view for view in e.now.views if view.defers is not False and view.key not in told]
    deferred = sum(view.deferred for view in others) + _orphans(e)
    if deferred:
        # By timers alone those that came in the last second may be half-open as well.
        exact = e.now.columns is None or e.now.columns.exact
        yield Hit(Level.NOTICE, (Fact("deferred" if exact else "deferred_at_most", deferred),))


def _orphans(e: Evidence) -> int:
    """Those whose listener is gone."""
    return e.now.deferred - sum(view.deferred for view in e.now.views)


def _facts(e: Evidence, one: Filled) -> tuple[Fact, ...]:
    view, limit = one.view, one.view.syn_queue_limit or 0
    found = [Fact("deferred", one.deferred), Fact("syn_queue", view.held, max(view.held, limit))]
    if view.defer_accept_s > _DEFER_S:
        found.append(Fact("defer_accept_s", view.defer_accept_s, unit="s"))
    if e.cookies:
        sent = [name for name in ("SyncookiesSent", "SyncookiesRecv") if name in e.rates]
        found += [Fact(f"{name}_per_s", round(e.rate(name), 1), unit="per_s") for name in sent]
    elif e.rates:
        found.append(Fact("dropped_syns_per_s", round(dropped_syns_per_s(e), 1), unit="per_s"))
    return tuple(found)


def _cures(e: Evidence, one: Filled) -> tuple[Cure, ...]:
    view, reason = one.view, "deferred-accept"
    # One that was set to a second already, or to a time that is not known, is turned off.
    value = _DEFER_S if view.defer_accept_s > _DEFER_S else 0
    shorter = (ChangeListener(e.netns, view.address, view.port, DEFER, value, reason),)
    return (*cookies_on(e, reason), shorter, *longer_queues(e, view, reason))
