"""SYNs that nobody means to follow up: from forged sources, from a few hosts, from one prefix.

What decides is the share of arrivals that is never answered, measured over the same time, never the number that is
half-open: handshakes from far away keep many half-open at any moment, and all of them finish.
"""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.costs import dropped_clients_per_s, dropped_syns_per_s
from halfopen.core.findings.cures import Cure, LookAtPackets
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.floods import MOST, SilentSources, floods, unanswered_per_s, unanswered_share
from halfopen.core.findings.lasting import SLOW_S, Lasting
from halfopen.core.findings.proven import block, proven
from halfopen.core.findings.registry import OnRelease, rule
from halfopen.core.findings.remedies import cookies_on, longer_queues, protect, release, shorter_release_time
from halfopen.core.findings.slow import slow
from halfopen.core.findings.unheard import unheard
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import Look

# Hosts that are offered for release each for itself.
_OFFERED = 3


def is_flood(e: Evidence) -> bool:
    """Whether SYNs come that nobody means to follow up."""
    return bool(floods(e))


def _level(e: Evidence, found: SilentSources) -> Level:
    """By what it does to others: whether SYNs of new clients are dropped."""
    # Overflows of an accept queue are another matter, perhaps of another listener.
    if e.rate("ListenDrops") > e.rate("ListenOverflows") or (e.cookies == 0 and any(e.full())):
        return Level.CRITICAL
    return Level.WARNING if found.ended is None else Level.NOTICE


def flow(e: Evidence, silent: Lasting | None = None) -> tuple[Fact, ...]:
    """How many arrive, how many of them finish, how many last without an answer.

    silent: those that last; None: of them, those of sources that are not known to finish others.
    """
    silent, finished = e.sources.strangers if silent is None else silent, e.completions_per_s
    rate = unanswered_per_s(e, silent)
    share = unanswered_share(e, rate, finished)
    return _flow(e, SilentSources("", silent, rate, finished, share, False, e.cookies_unanswered_per_s))


def _flow(e: Evidence, found: SilentSources) -> tuple[Fact, ...]:
    dropped = round(dropped_syns_per_s(e), 1)
    return (
        Fact("lasting", found.silent.count),
        Fact("lasting_since_s", found.silent.since_s, unit="s"),
        *_rate(found),
        *((Fact("unanswered_of", "namespace"),) if found.shared or (dropped and _full_elsewhere(e, found)) else ()),
        Fact("completions_per_s", round(found.completions_per_s, 1), unit="per_s"),
        Fact("completions_of", _finished_of(e, found)),
        Fact("unanswered_share", round(found.share, 4), found.limit, between=_by_packets(found)),
        *(() if found.near_clients is None else (Fact("near_clients", round(found.near_clients, 4)),)),
        Fact("repeated", found.silent.repeated),
        *_unknown(e, found.silent),
        Fact("distinct_sources", found.silent.sources.distinct),
        Fact("cookies_unanswered_per_s", round(found.cookies_per_s, 1), unit="per_s"),
        *((Fact("finished_by_them", 0),) if found.counted else ()),
        *((Fact("like_clients", 1),) if found.like_clients and found.id != "spoofed-flood" else ()),
        *((Fact("dropped_syns_per_s", dropped, unit="per_s"),) if dropped else ()),
    )


def _unknown(e: Evidence, silent: Lasting) -> tuple[Fact, ...]:
    """That no repeated SYN would be seen: the SYN-ACKs that the timer sends were not counted apart."""
    known = e.now.ages_from != "retransmits" or silent.repeated or not silent.count
    return () if known else (Fact("repeats_unknown", 1),)


def _finished_of(e: Evidence, found: SilentSources) -> str:
    """Where the handshakes finished that are set against it."""
    return "namespace" if found.where is None or e.now.arrived is None or found.shared else "listener"


def _full_elsewhere(e: Evidence, found: SilentSources) -> bool:
    """Whether SYNs may be dropped at other listeners as well: no counter tells how many at which."""
    return found.where is not None and any(view.key != found.where.key for view in e.full())


def _by_packets(found: SilentSources) -> bool:
    """Whether the rate was counted, by cookies or by SYNs, not worked out from ages."""
    return bool(found.cookies_per_s) or not found.silent.count


def _rate(found: SilentSources) -> tuple[Fact, ...]:
    """The handshakes that its sources begin a second; of a flood that is over, its former rate and its end."""
    rate, over = round(found.unanswered_per_s, 1), found.ended
    if over is None:
        entering = round(found.entering_per_s, 1)
        return (
            Fact("unanswered_per_s", rate, unit="per_s", between=_by_packets(found)),
            *((Fact("entering_per_s", entering, unit="per_s", between=True),) if entering else ()),
        )
    return (
        Fact("came_per_s", rate, unit="per_s"),
        Fact("last_syn_s", round(over.last_syn_s, 1), unit="s"),
        Fact("given_up_s", round(over.given_up_s, 1), unit="s"),
        *((Fact("came_between", over.came),) if over.came is not None else ()),
    )


def _whose(found: SilentSources) -> tuple[Fact, ...]:
    """The prefix, or the host that holds most of a few."""
    if found.hosts:
        prefix, share = found.hosts[0]
        if found.prefix is not None:
            prefix, share = found.prefix, sum(s for one, s in found.hosts if found.prefix.contains(one))
        return Fact("prefix", prefix.text), Fact("share", round(min(share, 1.0), 4))
    return (Fact("prefix", found.prefix.text), Fact("share", 1.0)) if found.prefix is not None else ()


def _room(view: ListenerView | None) -> tuple[Fact, ...]:
    if view is None or not view.syn_queue_limit:
        return ()
    return (Fact("syn_queue", view.held, max(view.held, view.syn_queue_limit)),)


def _in_doubt(e: Evidence, view: ListenerView | None) -> tuple[Fact, ...]:
    """Where only eBPF could tell those that never answer from those that answered and send no data.

    `syn_ack_recalc()` (net/ipv4/inet_connection_sock.c) sends the SYN-ACK of both again once TCP_DEFER_ACCEPT is over.
    """
    exact = e.now.columns is not None and e.now.columns.exact
    return (Fact("answers_unseen", 1),) if view is not None and view.defer_accept_s and not exact else ()


def _released(e: Evidence, found: SilentSources) -> tuple[Cure, ...]:
    """A release of its sources alone where it is counted that none of them finishes a handshake.

    Else a few hosts or one network may be a proxy or a load balancer, so nothing is released while handshakes finish.
    """
    where, space = found.where, e.now.sample.where
    if found.silent.since_s < SLOW_S:
        return ()
    if found.id == "spoofed-flood":
        if found.near_clients is not None:
            return ()  # more of what waits may be clients of the listener
        return () if _clients_wait(e) else (release(space, found.id, view=where),)
    if not found.counted and e.completions_per_s > 0:
        return ()
    if found.prefix is not None:
        return (release(space, found.id, source=found.prefix.text),)
    if found.counted or found.hosts[0][1] >= MOST:
        offered = found.hosts[: _OFFERED if found.counted else 1]
        return tuple(release(space, found.id, source=prefix.text) for prefix, _ in offered)
    return () if _clients_wait(e) else (release(space, found.id, view=where),)


def _blocked(e: Evidence, found: SilentSources) -> tuple[Cure, ...]:
    """A block of those of its hosts that are proven: a SYN alone proves nobody."""
    for place, view in enumerate(e.now.views):
        if found.where is not None and view.key == found.where.key:
            named = [prefix for prefix, _ in found.hosts]
            return block(e, view, [one for one in proven(e, place, view)[0] if one in named], found.id)
    return ()


def _clients_wait(e: Evidence) -> bool:
    """Whether clients on a slow or cut path wait beside it: a release of the listener would take theirs as well."""
    return bool(slow(e) or unheard(e) or e.sources.cut or e.sources.cut_everywhere)


def _cures(e: Evidence, found: SilentSources) -> tuple[Cure, ...]:
    """The cures that keep clients getting in, first; a release frees the queue for a moment only."""
    freed, reason = _released(e, found), found.id
    if found.ended is not None:
        return _afterwards(e, found, freed)
    full = [view for view in e.full() if found.where is None or view.key == found.where.key]
    queues = [cure for view in full[:1] for cure in longer_queues(e, view, reason)]
    guarded = protect(e, found.where, reason)
    if not found.silent.count:
        return guarded  # nothing of it stays
    if reason == "spoofed-flood":
        return (*cookies_on(e, reason), *guarded, *shorter_release_time(e, reason), *queues, *freed)
    return (
        *cookies_on(e, reason),
        *_blocked(e, found),
        *freed,
        *_packets(e, found),
        *guarded,
        *shorter_release_time(e, reason),
        *(() if freed else queues),
    )


def _packets(e: Evidence, found: SilentSources) -> tuple[Cure, ...]:
    """A look at its packets, where these may be clients after all: the last ACKs of these may be lost on the way."""
    source = found.prefix or (found.hosts[0][0] if found.hosts else None)
    if not found.like_clients or source is None:
        return ()
    port = None if found.where is None else found.where.port
    return ((LookAtPackets(e.netns, source.text, port, found.id),),)


def _afterwards(e: Evidence, found: SilentSources, freed: tuple[Cure, ...]) -> tuple[Cure, ...]:
    """Once it is over the queue empties by itself; only where it is short of room is a release better than waiting."""
    wait: tuple[Cure, ...] = ((Look(e.netns, "watch", found.id),),)
    pressed = any(2 * view.held > (view.syn_queue_limit or 0) for view in e.now.listeners if view.held)
    return (*cookies_on(e, found.id), *((*freed, *wait) if pressed else (*wait, *freed)))


def _hit(e: Evidence, id: str, rules_out: tuple[str, ...]) -> Iterator[Hit]:
    every = floods(e)
    for found in every:
        if found.id == id:
            room = _room(found.where) if found.silent.count else ()
            facts = (*_flow(e, found), *_whose(found), *room, *_in_doubt(e, found.where))
            cures, lost = _cures(e, found), dropped_clients_per_s(e)
            others = tuple(one for one in rules_out if all(one != flood.id for flood in every))
            if found.like_clients:
                # Those that give up within a second never ask again.
                others = tuple(one for one in others if one != "synacks-lost")
            yield Hit(_level(e, found), facts, found.where, others, cures, lost)


@rule(
    "spoofed-flood",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES,),
    title="SYN flood from forged addresses",
    doc="most SYN-ACKs are never answered, hardly any client retransmits its SYN, and the sources "
    "look as if drawn at random; if packets were counted and hardly any source is in a network "
    "whose clients finish handshakes, a tenth of all SYNs is enough; once no SYN of the flood "
    "has come for a second, only a notice. If no request lasts (`tcp_syncookies` is 2, or a "
    "single SYN-ACK is sent), packets must be counted for 2.5 s, as `halfopen diagnose` does",
    unless="handshakes finish at about the rate at which they arrive, the same clients retransmit "
    "their SYNs, or all clients stopped finishing at once although there is room, which is an "
    "outage; nor if sources that do "
    "not look drawn at random may be clients whose last ACKs are lost, because nobody has ever "
    "finished, or because rules of this host drop packets while nobody finishes at that listener",
    advice="leave SYN cookies on; `halfopen tune apply --release-time 7s`; a longer queue. `halfopen watch "
    "--release-older-than 5s` keeps the queue short meanwhile",
    on_release=OnRelease.REASON,
)
def spoofed_flood(e: Evidence) -> Iterator[Hit]:
    return _hit(e, "spoofed-flood", ("few-sources-flood", "prefix-flood", "synacks-lost", "slow-path"))


@rule(
    "few-sources-flood",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES, Need.LASTING),
    title="a few hosts flood or are broken",
    doc="at most 8 addresses hold the connections that last; handshakes were counted by source and "
    "none of these finishes any, or most SYN-ACKs are never answered",
    unless="they finish handshakes, now or recently (a proxy, a load balancer), or retransmit their SYNs; or "
    "if they may be "
    "clients whose last ACKs are lost, because nobody has ever finished, because rules of this host "
    "drop packets, or because none begins more than five handshakes a second",
    advice="run the proposed `halfopen release --source …`; `halfopen block` only a prefix that you know, because a "
    "SYN does not prove its source",
    on_release=OnRelease.REASON,
)
def few_sources_flood(e: Evidence) -> Iterator[Hit]:
    return _hit(e, "few-sources-flood", ("spoofed-flood", "synacks-lost"))


@rule(
    "prefix-flood",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES, Need.LASTING),
    title="one network floods or is broken",
    doc="one prefix, an IPv4 /16 to /28 or an IPv6 /48 to /64, holds the connections that last; "
    "handshakes were counted by source and nobody there finishes any, or most SYN-ACKs are never "
    "answered",
    unless="anybody there finishes handshakes, now or recently, or these clients retransmit their SYNs; "
    "or if they may be "
    "clients whose last ACKs are lost, because nobody has ever finished, or because rules of this host "
    "drop packets",
    advice="run the proposed `halfopen release --source …`; `halfopen block` only a prefix that you know, because a "
    "SYN does not prove its source",
    rare=True,
    on_release=OnRelease.REASON,
)
def prefix_flood(e: Evidence) -> Iterator[Hit]:
    return _hit(e, "prefix-flood", ("spoofed-flood", "synacks-lost"))
