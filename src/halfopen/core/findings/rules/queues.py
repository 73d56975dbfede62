"""Queues too short for honest traffic, and the settings that cap them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from halfopen.core.findings.costs import dropped_clients_per_s, dropped_syns_per_s, overflows_per_s
from halfopen.core.findings.deferred import filled
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import cookies_on, longer_queues
from halfopen.core.findings.rules.accept import stuck
from halfopen.core.findings.rules.flood import is_flood
from halfopen.core.findings.unheard import unheard
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.turned_away import prove_nothing

# Cookies that come back are those of clients; of a flood hardly any does.
_HONEST: Final = 0.5
# A dump of a queue in which requests come and go shows some of both: more than were there at any time.
_SEEN: Final = 1.5
# In a longer time places become free and are taken again.
_ALL_AT_ONCE_S: Final = 2.0


def _overflowed(e: Evidence, views: Iterable[ListenerView]) -> ListenerView | None:
    """The listener whose accept queue overflowed most: the kernel counts that in its drops, among other things such as
    SYNs that are sent again; so one is meant first in whose queue connections wait, and last one whose clients do not
    hear it. Never one that defers, where its drops may all be ACKs that it let wait.
    """
    deaf = {one.view.key for one in unheard(e)}
    counters = e.now.sample.counters
    dropping = [view for view in views if view.drops and not prove_nothing(view, counters)]
    return max(dropping, key=lambda one: (one.accept_queue > 0, one.key not in deaf, one.drops), default=None)


def _shortest(e: Evidence) -> ListenerView | None:
    views = [view for view in e.now.listeners if view.syn_queue_limit is not None]
    return min(views, key=lambda view: _backlog(e, view), default=None)


def _backlog(e: Evidence, view: ListenerView) -> int:
    """The backlog of a listener; of several sockets the shortest one, as each has queues of its own."""
    # A queue takes one more.
    return min((queue.cap - 1 for queue in e.accept_queues(view)), default=0)


def _backlogs(e: Evidence, view: ListenerView) -> list[Fact]:
    caps = {queue.cap for queue in e.accept_queues(view)}
    uneven = [Fact("sockets", view.members)] if len(caps) > 1 else []
    return [Fact("backlog", _backlog(e, view)), *uneven]


@rule(
    "backlog-small",
    Level.NOTICE,
    Level.WARNING,
    title="the queue is too short for the traffic",
    doc="accept queues overflow and none is stuck, or SYN cookies were sent and clients returned "
    "them; a warning while it happens",
    unless="the accept queue does not drain, or a flood or connections that wait for data fill the SYN queue",
    advice="`halfopen tune listener :443 --backlog 4096`; where `somaxconn` caps it, the command says so",
)
def backlog_small(e: Evidence) -> Iterator[Hit]:
    if (short := _too_short(e)) and not _capped(e, short[0]):
        view, facts, level = short
        facts += [*_backlogs(e, view), Fact("drops", view.drops)]
        facts += _needed(e, view)
        cures = longer_queues(e, view, "backlog-small", _least(facts))
        costs = overflows_per_s(e, view)
        yield Hit(level, tuple(facts), view, cures=cures, costs_per_s=costs, past=level is Level.NOTICE)


def _too_short(e: Evidence) -> tuple[ListenerView, list[Fact], Level] | None:
    """The listener whose queue is too short for honest traffic, the counters that tell so, and the level.

    Beside a queue that is stuck, which overflows as well, only cookies tell: a full accept queue sends none
    (`tcp_conn_request()`).
    """
    if is_flood(e):
        return None
    waiting = [found for view in e.now.listeners if (found := stuck(e, view)) is not None]
    moving = [view for view in e.now.listeners if all(view is not found.view for found in waiting)]
    view, full = _overflowed(e, moving), list(e.full())
    honest = e.cookies == 1 and e.total("SyncookiesRecv") >= max(1, _HONEST * e.total("SyncookiesSent"))
    # Clients that do not hear the SYN-ACK fill a queue of any length, and so do those that have nothing to say.
    honest = honest and not any(one.view in full for one in unheard(e)) and not filled(e) and not _of_silent(e, full)
    if waiting:
        # A slow program has room now and then: then the cookies may be those of its own listener.
        slow = any(found.accepts for found in waiting)
        honest = honest and not (slow and view not in full)
        return (view, *_counted(e, ("SyncookiesSent", "SyncookiesRecv"))) if view is not None and honest else None
    if e.total("ListenOverflows") and view is not None and not _over(e):
        cookies = ("SyncookiesSent",) if e.cookies == 1 and e.total("SyncookiesSent") else ()
        return view, *_counted(e, ("ListenOverflows", "ListenDrops", *cookies))
    if honest and (view := _shortest(e)) is not None:
        return view, *_counted(e, ("SyncookiesSent", "SyncookiesRecv"))
    return None


def _of_silent(e: Evidence, full: Iterable[ListenerView]) -> bool:
    """Whether a full queue holds mostly connections that nobody answers: those would fill a longer one as well."""
    silent = {view.key: found.count for view, found in e.lasting_by_listener}
    # Cookies of the past tell of another time.
    now = not e.rates or e.rate("SyncookiesSent") > 0
    return now and any(2 * silent.get(view.key, 0) > view.held for view in full)


def _counted(e: Evidence, names: tuple[str, ...]) -> tuple[list[Fact], Level]:
    facts = [Fact(name, e.total(name)) for name in names]
    facts += [Fact(f"{name}_per_s", round(e.rate(name), 1), unit="per_s") for name in names if name in e.rates]
    # Cookies that come back are sent to clients.
    by_cookie = "SyncookiesSent" in names and e.rate("SyncookiesRecv") >= max(1.0, _HONEST * e.rate("SyncookiesSent"))
    return facts, Level.WARNING if e.rate(names[0]) or by_cookie else Level.NOTICE


def _needed(e: Evidence, view: ListenerView) -> list[Fact]:
    """The backlog that would have held all that came between two looks that are close together, as if it had come at
    once: what found no room takes one place each; and, if it was counted, how many handshakes are under way on average
    (Little's law).
    """
    met = max(e.rate("SyncookiesSent"), e.rate("ListenDrops"), e.rate("ListenOverflows")) * e.interval_s
    if not met or e.interval_s > _ALL_AT_ONCE_S:
        return []
    found = [Fact("backlog_needed", _backlog(e, view) + round(met))]
    per_s, seconds = e.arrivals_at(view)
    # A handshake whose SYN or ACK was dropped takes as long as its timers: it did not wait in the queue meanwhile.
    if per_s and seconds and not max(e.rate("ListenDrops"), e.rate("ListenOverflows")):
        found += [
            Fact("arrivals_per_s", round(per_s, 1), unit="per_s"),
            Fact("handshake_s", round(seconds, 3), unit="s"),
            Fact("under_way", round(per_s * seconds, 1)),
        ]
    return found


def _least(facts: Iterable[Fact]) -> int:
    """The least backlog to propose: the next power of two."""
    needed = max((int(fact.value) for fact in facts if fact.name == "backlog_needed"), default=0)
    return 1 << (needed - 1).bit_length() if needed else 0


def _capped(e: Evidence, view: ListenerView) -> bool:
    """Whether a listener has the longest queue that somaxconn allows: it may have asked for more."""
    limit = e.now.sample.settings.get("somaxconn")
    return bool(limit) and view.accept_queue_limit == (limit or 0) * view.members


def _in_reserve(view: ListenerView) -> bool:
    """Whether the limit of a SYN queue is that of tcp_max_syn_backlog, not the backlog: the kernel keeps its last
    quarter for peers that finished before, and lets these in beyond the limit (`tcp_conn_request()`,
    `tcp_peer_is_proven()`).
    """
    return (view.syn_queue_limit or 0) < (view.accept_queue_limit or 0)


def _over(e: Evidence) -> bool:
    """Whether no accept queue overflows now, and no SYN queue ever did: a program that stalled once does that, however
    long its queue is.
    """
    return not e.rate("ListenOverflows") and not (e.cookies == 1 and e.total("SyncookiesSent"))


@rule(
    "past-overflows",
    Level.NOTICE,
    title="accept queues overflowed in the past",
    note=True,
    doc="accept queues overflowed since the namespace was made, none overflows or is stuck now, and "
    "no SYN cookie was sent: the program stalled, or there was a burst",
    unless="an accept queue overflows now",
    advice="nothing now; `halfopen watch` tells when it happens again",
)
def past_overflows(e: Evidence) -> Iterator[Hit]:
    view = _overflowed(e, e.now.listeners)
    happens = is_flood(e) or any(stuck(e, one) is not None for one in e.now.listeners)
    if e.total("ListenOverflows") and view is not None and _over(e) and not happens:
        facts = [Fact("ListenOverflows", e.total("ListenOverflows")), Fact("drops", view.drops)]
        if "ListenOverflows" in e.rates:
            facts.append(Fact("ListenOverflows_per_s", 0, unit="per_s"))
        held = Fact("accept_queue", view.accept_queue, view.accept_queue_cap)
        yield Hit(Level.NOTICE, (*facts, held), view, past=True)


@rule(
    "somaxconn-clamp",
    Level.NOTICE,
    Level.WARNING,
    title="`somaxconn` caps the queue",
    doc="a queue that is too short for the traffic, or full, is exactly as long as "
    "`net.core.somaxconn` allows; a warning while clients find it full",
    unless="the queue never fills, or the program does not accept",
    advice="run both proposed commands: `somaxconn` first, then the backlog of the listener",
    rare=True,
)
def somaxconn_clamp(e: Evidence) -> Iterator[Hit]:
    limit = Fact("somaxconn", e.now.sample.settings.get("somaxconn", 0))
    short = _too_short(e)
    if short and _capped(e, short[0]):
        view, facts, level = short
        facts += [Fact("backlog", limit.value), limit, Fact("capped", sum(_capped(e, v) for v in e.now.listeners))]
        facts += _needed(e, view)
        cures = longer_queues(e, view, "somaxconn-clamp", _least(facts))
        costs = overflows_per_s(e, view)
        yield Hit(level, tuple(facts), view, cures=cures, costs_per_s=costs, past=level is Level.NOTICE)
        return
    for view in e.full():
        if _capped(e, view) and not _in_reserve(view):
            facts = [Fact("backlog", limit.value), limit]
            yield Hit(Level.NOTICE, tuple(facts), view, cures=longer_queues(e, view, "somaxconn-clamp"))


def _dropped_syns(e: Evidence) -> int:
    """SYNs dropped because a SYN queue had no room: TCPReqQFullDrop for a whole queue, no counter of its own for the
    last quarter of tcp_max_syn_backlog (`tcp_conn_request()`)."""
    return max(e.total("TCPReqQFullDrop"), e.total("ListenDrops") - e.total("ListenOverflows"))


@rule(
    "cookies-off",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    title="SYN cookies are off",
    doc="`tcp_syncookies` is 0; a warning if SYNs were dropped, critical while SYNs are dropped or a SYN queue is full",
    unless="cookies are on",
    advice="`halfopen tune apply --cookies on`: it costs nothing while no queue is full",
)
def cookies_off(e: Evidence) -> Iterator[Hit]:
    if e.cookies != 0 or "tcp_syncookies" not in e.now.sample.settings:
        return
    full = list(e.full())
    dropped = _dropped_syns(e)
    # A queue that was full a moment ago, and will be again, has a place or two just now.
    now = round(dropped_syns_per_s(e), 1)
    level = Level.CRITICAL if full or now else Level.WARNING if dropped else Level.NOTICE
    facts = [Fact("tcp_syncookies", 0), Fact("dropped_syns", dropped)]
    facts += [Fact("dropped_syns_per_s", now, unit="per_s")] if now else []
    if full:
        facts.append(Fact("syn_queue", full[0].held, max(full[0].held, full[0].syn_queue_limit or 0)))
    cures = cookies_on(e, "cookies-off")
    if full:
        cures += longer_queues(e, full[0], "cookies-off")
    yield Hit(level, tuple(facts), full[0] if full else None, cures=cures, costs_per_s=dropped_clients_per_s(e))


@rule(
    "syn-backlog-reserve",
    Level.WARNING,
    title="`tcp_max_syn_backlog` keeps its last quarter back",
    doc="SYN cookies are off, and a SYN queue is as full as three quarters of `tcp_max_syn_backlog` allow",
    unless="cookies are on: the setting then does nothing",
    advice="switch SYN cookies on; without them, a larger `tcp_max_syn_backlog`",
    rare=True,
)
def syn_backlog_reserve(e: Evidence) -> Iterator[Hit]:
    backlog = e.now.sample.settings.get("tcp_max_syn_backlog")
    for view in e.full():
        limit = view.syn_queue_limit
        if e.cookies == 0 and backlog and limit is not None and _in_reserve(view):
            facts = Fact("syn_queue", view.held, max(view.held, limit)), Fact("tcp_max_syn_backlog", backlog)
            cures = (*cookies_on(e, "syn-backlog-reserve"), *longer_queues(e, view, "syn-backlog-reserve"))
            yield Hit(Level.WARNING, facts, view, cures=cures, costs_per_s=dropped_clients_per_s(e))


@rule(
    "timewait-reopen",
    Level.NOTICE,
    title="connections in TIME_WAIT are reopened",
    doc="a SYN queue holds more than its limit plus one for each socket: the kernel admits a SYN "
    "that reopens a connection in TIME_WAIT without looking at the limit; if the queue was "
    "counted rather than read, half as many more are needed",
    unless="the SYN queue holds at most its limit and one more",
    advice="nothing, if the number falls again; a backlog that was lowered meanwhile looks the same",
    rare=True,
)
def timewait_reopen(e: Evidence) -> Iterator[Hit]:
    for view in e.now.listeners:
        limit = view.accept_queue_limit if _in_reserve(view) else view.syn_queue_limit
        if limit is not None and view.held > (limit + view.members) * (1.0 if view.syn_queue is not None else _SEEN):
            yield Hit(Level.NOTICE, (Fact("syn_queue", view.held, limit),), view)
