"""The rates of a namespace from reading to reading, kept for a minute: what a screen draws over time."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.model.model import Model

KEPT_S: Final = 60.0


class Moment(Struct, frozen=True):
    """What happened a second in a namespace, up to one reading of it (at_s: monotonic).

    syns: that arrived; counted: packet by packet, by eBPF, else worked out from what became of them: finished, waiting
    since less than 1 s, answered by a cookie or dropped, which leaves out SYNs that were sent again. finished:
    handshakes. cookies: SYN cookies sent. drops: SYNs and handshakes dropped. half_open: connections, no rate.
    """

    at_s: float
    half_open: int
    syns: float = 0.0
    counted: bool = False
    finished: float = 0.0
    cookies: float = 0.0
    drops: float = 0.0


def moment_of(model: Model) -> Moment:
    """The moment of a reading."""
    rates, at_s = model.rates or {}, model.sample.monotonic_s
    finished, cookies, drops = (max(0.0, rates.get(n, 0.0)) for n in ("PassiveOpens", "SyncookiesSent", "ListenDrops"))
    arrived = model.arrived
    if arrived is not None and arrived.packets:
        syns, counted = arrived.all.per_s(arrived.all.syns), True
    else:
        # A client that returned a cookie was counted when the cookie was sent.
        by_queue = max(0.0, finished - max(0.0, rates.get("SyncookiesRecv", 0.0)))
        syns, counted = by_queue + cookies + drops + _new_per_s(model), False
    return Moment(at_s, model.half_open, syns, counted, finished, cookies, drops)


def _new_per_s(model: Model) -> float:
    """Half-open ones that came in the last second; by the queues, those whose first timer of 1 s has not run out."""
    return float(sum(view.young for view in model.listeners) if model.sample.depths else model.arrivals_per_s)


def last_minute(moments: tuple[Moment, ...], now: Moment) -> tuple[Moment, ...]:
    """The moments of the last minute, with the new one."""
    return (*(one for one in moments if now.at_s - one.at_s < KEPT_S), now)
