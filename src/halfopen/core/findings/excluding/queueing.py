"""The two queues: excluded by how full they are, and by the counters of clients that were turned away."""

from __future__ import annotations

from halfopen.core.findings.deferred import filled
from halfopen.core.findings.evidence import AcceptQueue, Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.rules.accept import stuck
from halfopen.core.findings.rules.flood import is_flood


def _all(e: Evidence) -> list[AcceptQueue]:
    return [queue for view in e.now.listeners for queue in e.accept_queues(view)]


def _drains(queue: AcceptQueue, *, alone: bool) -> bool:
    """alone: no other socket listens, so that each handshake that finished was for this one."""
    shrank = queue.before is not None and queue.held < queue.before
    return queue.held == 0 or shrank or (alone and not queue.full and bool(queue.accepted))


@excluded("app-not-accepting", rivals=("backlog-small",))
def all_accept(e: Evidence) -> Against:
    for view in e.now.listeners:
        found = stuck(e, view)
        if found is not None and not found.whole:
            # One socket or worker of several: the others accept.
            return (Fact("stuck_sockets", len(found.queues), view.members),)
    return _all_drain(e)


def _all_drain(e: Evidence) -> Against:
    queues = _all(e)
    if not queues or not all(_drains(queue, alone=len(queues) == 1) for queue in queues):
        return ()
    fullest = max(queues, key=lambda queue: queue.held / queue.cap)
    return (Fact("accept_queue", fullest.held, fullest.cap),)


@excluded("member-not-accepting", rivals=("app-not-accepting", "backlog-small"))
def all_members_accept(e: Evidence) -> Against:
    members = max((view.members for view in e.now.listeners), default=0)
    if members < 2:
        return (Fact("sockets", members, 2),)
    for view in e.now.listeners:
        found = stuck(e, view)
        if found is not None and found.whole:
            return (Fact("stuck_sockets", len(found.queues), view.members),)
    return _all_drain(e)


@excluded("deferred-accept", rivals=("backlog-small",))
def not_filled(e: Evidence) -> Against:
    """Where no queue is full, or hardly any of these wait in it."""
    # With an accept queue that is full, others are counted with these where no listener defers.
    deferred = sum(view.deferred for view in e.now.views if view.defers is not False)
    return fullest(e) or (() if deferred else (Fact("deferred", 0),))


@excluded("backlog-small", rivals=("app-not-accepting", "deferred-accept"))
def long_enough(e: Evidence) -> Against:
    for one in filled(e):
        return Fact("deferred", one.deferred), Fact("syn_queue", one.view.held, one.view.syn_queue_limit)
    for view in e.now.listeners:
        found = stuck(e, view)
        if found is not None:
            queue = found.queues[0]
            held = Fact("accept_queue", queue.held, max(queue.held, queue.cap))
            return (held,) if queue.accepted is None else (held, Fact("accepted_at_most", queue.accepted))
    if "ListenOverflows" not in e.now.sample.counters or e.total("ListenOverflows"):
        return ()
    none, sent = Fact("ListenOverflows", 0), e.total("SyncookiesSent")
    if not sent and not e.total("ListenDrops"):
        return none, Fact("ListenDrops", 0), Fact("SyncookiesSent", 0)
    if sent and e.rates and is_flood(e):
        return none, Fact("SyncookiesSent", sent), Fact("SyncookiesRecv", e.total("SyncookiesRecv"))
    return ()


def fullest(e: Evidence) -> Against:
    """The fullest SYN queue, where none is full."""
    views = [view for view in e.now.listeners if view.syn_queue_limit]
    if any(e.full()) or not views:
        return ()
    view = max(views, key=lambda view: view.fill or 0.0)
    return (Fact("syn_queue", view.held, view.syn_queue_limit),)


@excluded("somaxconn-clamp")
def not_clamped(e: Evidence) -> Against:
    queues, limit = _all(e), e.now.sample.settings.get("somaxconn")
    if limit is None or not queues:
        return ()
    longest = max(queue.cap - 1 for queue in queues)
    if longest < limit:
        return Fact("backlog", longest), Fact("somaxconn", limit)
    never_full = not e.total("ListenOverflows") and not any(queue.full for queue in queues)
    return fullest(e) if never_full else ()


@excluded("syn-backlog-reserve")
def nothing_kept_back(e: Evidence) -> Against:
    """A queue that is not full now may have been a moment ago, and the SYNs that met it were counted."""
    if found := _cookies(e):
        return found
    counted = "ListenDrops" in e.now.sample.counters
    dropped = e.total("ListenDrops") - e.total("ListenOverflows")
    return (*fullest(e), Fact("dropped_syns", 0)) if counted and dropped <= 0 and fullest(e) else ()


@excluded("cookies-off")
def cookies_are_on(e: Evidence) -> Against:
    return _cookies(e)


def _cookies(e: Evidence) -> Against:
    known = "tcp_syncookies" in e.now.sample.settings
    return (Fact("tcp_syncookies", e.cookies),) if known and e.cookies else ()


@excluded("timewait-reopen")
def within_the_limit(e: Evidence) -> Against:
    views = [view for view in e.now.listeners if view.syn_queue_limit]
    if not views or any(view.held > (view.syn_queue_limit or 0) + view.members for view in views):
        return ()
    view = max(views, key=lambda view: view.fill or 0.0)
    return (Fact("syn_queue", view.held, view.syn_queue_limit),)
