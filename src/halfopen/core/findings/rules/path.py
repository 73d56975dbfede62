"""Real clients on a path that loses packets: SYN-ACKs or last ACKs that do not arrive, handshakes that take long."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

import numpy as np

from halfopen.core.findings.contrast import as_drawn
from halfopen.core.findings.costs import dropped_syns_per_s
from halfopen.core.findings.cures import Cure, LookAtHost, LookAtPackets, LookAtRoute
from halfopen.core.findings.evidence import FEW, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.floods import many
from halfopen.core.findings.lasting import Lasting
from halfopen.core.findings.lost import lost_by_queues
from halfopen.core.findings.registry import OnRelease, rule
from halfopen.core.findings.rules.flood import flow, is_flood
from halfopen.core.findings.slow import slow
from halfopen.core.findings.sources import SOME
from halfopen.core.findings.unheard import MOST, Unheard, unheard
from halfopen.core.findings.unsent import perhaps_unsent, unsent
from halfopen.core.findings.ways import no_ways, unheeded, way_of
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Prefix, is_v4
from halfopen.core.model.turned_away import turned_away
from halfopen.core.sample.ways import WayBack

SMALL: Final = 0.1


@rule(
    "synacks-lost",
    Level.WARNING,
    needs=(Need.LASTING,),
    title="SYN-ACKs do not reach clients",
    doc="most of the clients whose connections last, at a listener or from one prefix, retransmit "
    "their SYNs: the SYN-ACK was sent more often than the timer sends it; halfopen reads the "
    "route back, and the device by which these SYNs come in",
    unless="the clients do not retransmit their SYNs (forged sources never do), more handshakes of "
    "the same sources finish (unless some never do, and hardly any finishes late), or the listener "
    "sends a single SYN-ACK",
    advice="repair the way back: an asymmetric route, a firewall, a wrong source address; never release these clients",
    on_release=OnRelease.FORBIDS,
)
def synacks_lost(e: Evidence) -> Iterator[Hit]:
    for one in unheard(e):
        way = way_of(e.now, e.sources.numbers[one.requests & e.sources.repeated])
        cures = _way_back(e, one.lasting, way, "synacks-lost")
        yield Hit(
            Level.WARNING,
            _lost(e, one, way),
            one.view,
            ("spoofed-flood", "acks-lost"),
            cures,
            costs_per_s=one.lasting.per_s,
        )


def _lost(e: Evidence, one: Unheard, way: WayBack | None) -> tuple[Fact, ...]:
    found = [
        Fact("lasting", one.lasting.count),
        Fact("repeated", one.lasting.repeated, one.lasting.count * MOST),
        *_way(way),
        *_oldest(e, one.lasting),
        Fact("distinct_sources", one.lasting.sources.distinct),
    ]
    if one.prefix is not None:
        found += [Fact("prefix", one.prefix.text), Fact("share", 1.0)]
    if e.now.arrived is not None and e.now.arrived.packets:
        flow = e.now.arrived.by_view[one.place]
        found.append(Fact("syns_again_per_s", round(flow.per_s(flow.repeats), 1), unit="per_s"))
    if one.beside_per_s:
        found.append(Fact("beside_per_s", round(one.beside_per_s, 1), unit="per_s"))
    elif e.rates:
        found.append(Fact("completions_per_s", round(e.finished_per_s(one.view), 1), unit="per_s"))
    return tuple(found)


def _oldest(e: Evidence, lasting: Lasting) -> tuple[Fact, ...]:
    """For how long the longest lasts, where the kernel said so: from timers it is wrong where clients ask again."""
    exact = e.now.columns is not None and e.now.columns.exact
    return (Fact("oldest_s", round(lasting.oldest_s, 1), unit="s"),) if exact else ()


def _way(way: WayBack | None) -> tuple[Fact, ...]:
    """The device by which the route back leaves, or why there is none, and the one by which their SYNs come in."""
    if way is None:
        return ()
    if not way.device:
        return (Fact("no_way_back", errno.errorcode.get(way.error, str(way.error))),) if way.error else ()
    came_by = (Fact("came_by", way.came_by),) if way.came_by else ()
    return Fact("back_by", way.device), *came_by


def _way_back(e: Evidence, lasting: Lasting, way: WayBack | None, reason: str) -> tuple[Cure, ...]:
    address = lasting.address
    if way is not None and not address:
        address = _address(way)
    return ((LookAtRoute(e.netns, address, reason),),) if address else ()


def _address(way: WayBack) -> str:
    """The address of a client; of an IPv6 one, the first of its network."""
    version, bits = (4, 32) if is_v4(np.array([way.number], dtype=np.uint64))[0] else (6, 64)
    return Prefix(version, way.number, bits).text.partition("/")[0]


@rule(
    "synacks-unsent",
    Level.WARNING,
    needs=(Need.RATES,),
    title="SYN-ACKs do not leave this host",
    doc="between two looks the second SYN-ACK of five or more half-open connections of a listener "
    "was due, and none of these is left, although their sources finish none and more retries are allowed: "
    "the kernel gives up a request whose SYN-ACK it cannot send; or as many of them come to the age of a second as "
    "shortly before it, timers run out for them (`TCPTimeouts`), and none is older",
    unless="any of these connections is older than a second, or they finish",
    advice="`nft list ruleset` shows whether a rule drops outgoing packets; never release these clients",
    rare=True,
    on_release=OnRelease.FORBIDS,
)
def synacks_unsent(e: Evidence) -> Iterator[Hit]:
    for one in unsent(e):
        facts = (
            Fact("given_up_at_once", one.gone),
            Fact("half_open", one.view.half_open),
            Fact("interval_s", round(e.interval_s, 2), unit="s"),
        )
        cures = ((LookAtHost(e.netns, "firewall", "", "synacks-unsent"),),)
        costs = one.gone / e.interval_s
        yield Hit(Level.WARNING, facts, one.view, ("handshakes-finish", "synacks-lost"), cures, costs_per_s=costs)


# Of the SYNs that were dropped: a program of this host may have no route for packets of its own as well.
_NO_ROUTE: Final = 0.5
_MANY_FORGED: Final = 200


@rule(
    "no-route-back",
    Level.NOTICE,
    Level.WARNING,
    needs=(Need.RATES,),
    title="no route back to clients",
    doc="SYNs are dropped although no queue is full, and at least half as many packets had no route "
    "out (`OutNoRoutes`) or, by eBPF, the kernel has no route to most of a few sources whose SYNs leave "
    "nothing behind: the kernel drops a SYN if it finds no route for the SYN-ACK; only a notice if 200 or more such "
    "sources look drawn at random, as forged ones do",
    unless="a queue is full, or hardly any packet had no route",
    advice="`ip route show table all match ADDRESS` with the address of a client: an `unreachable`, `blackhole` or "
    "`prohibit` route, or no default route",
    rare=True,
    on_release=OnRelease.FORBIDS,
)
def no_route_back(e: Evidence) -> Iterator[Hit]:
    dropped, lost, ways = dropped_syns_per_s(e), e.before_tcp_rates.no_route, no_ways(e.now)
    # Of IPv6 the kernel does not count them.
    if dropped * e.interval_s < SOME or any(e.full()) or not (ways or lost >= _NO_ROUTE * dropped):
        return
    facts = [Fact("dropped_syns_per_s", round(dropped, 1), unit="per_s")]
    if lost:
        facts.append(Fact("no_route_per_s", round(lost, 1), round(_NO_ROUTE * dropped, 1), "per_s"))
    address = _address(ways[0]) if ways else ""
    if ways:
        facts += [*_way(ways[0]), Fact("source", address)]
    numbers = unheeded(e.now)["number"]
    forged = as_drawn(numbers, _MANY_FORGED)
    if forged:
        facts.append(Fact("drawn_sources", len(numbers), _MANY_FORGED))
    before = e.now if e.before is None else e.before
    theirs = turned_away(e.now.views, before.views, e.now.sample.counters, before.sample.counters)
    at = [view for view in e.now.views if view.key in theirs]
    cures = ((LookAtRoute(e.netns, address, "no-route-back"),),)
    view = at[0] if len(at) == 1 else None
    costs = 0.0 if forged else dropped if ways else min(dropped, lost)
    level = Level.NOTICE if forged else Level.WARNING
    yield Hit(level, tuple(facts), view, ("synacks-lost",), cures, costs_per_s=costs)


@rule(
    "acks-lost",
    Level.WARNING,
    needs=(Need.RATES, Need.LASTING),
    title="last ACKs do not arrive",
    doc="clients that finished handshakes recently, of one prefix or of all, finish none now and do "
    "not retransmit their SYNs, so the SYN-ACKs reach them",
    unless="they finish handshakes or retransmit their SYNs, or the kernel remembers none of them",
    advice="see whether the ACKs arrive at the host (the proposed `tcpdump`): if so, its own "
    "firewall drops them; if not, a firewall on the way, which lets SYNs through, has lost "
    "its state; never release these clients",
    rare=True,
    on_release=OnRelease.FORBIDS,
)
def acks_lost(e: Evidence) -> Iterator[Hit]:
    prefix = e.sources.cut
    if prefix is None and not e.sources.cut_everywhere:
        return
    mask = e.sources.last & ~e.sources.repeated
    if prefix is not None:
        mask &= e.sources.within(prefix)
    silent, known = e.sources.among(mask), e.sources.completers.lately_within(prefix, np.inf)
    facts: tuple[Fact, ...] = (
        Fact("lasting", silent.count),
        *_oldest(e, silent),
        *((Fact("prefix", prefix.text),) if prefix is not None else ()),
        Fact("finished_lately", known),
        Fact("last_finished_s", round(e.sources.completers.youngest_s(prefix), 1), unit="s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
    )
    rules_out: tuple[str, ...] = ("spoofed-flood", "few-sources-flood", "prefix-flood")
    if e.now.ages_from == "retransmits":
        # Of the SYN-ACKs that were sent again nobody knows how many the client asked for.
        facts += (Fact("repeats_unknown", 1),)
    else:
        rules_out += ("synacks-lost",)
    where = e.mostly_at(mask)
    arrive = LookAtPackets(
        e.netns, "" if prefix is None else prefix.text, None if where is None else where.port, "acks-lost"
    )
    cures = ((arrive,), (LookAtHost(e.netns, "firewall", "", "acks-lost"),))
    yield Hit(Level.WARNING, facts, where, rules_out, cures, costs_per_s=silent.per_s)


@rule(
    "slow-path",
    Level.NOTICE,
    needs=(Need.RATES,),
    title="slow or lossy path",
    doc="of the handshakes that clients who do finish began in the same period, 5 % or more finish "
    "only after a retransmitted SYN-ACK, or not at all",
    unless="hardly any handshake is late, none of these sources finishes, far fewer finish late than "
    "stay half-open, accept queues overflow (the kernel then ignores ACKs), or this host "
    "itself loses packets",
    advice="nothing, while the queue is not filling",
    on_release=OnRelease.FORBIDS,
    fills=False,
)
def slow_path(e: Evidence) -> Iterator[Hit]:
    if lost_by_queues(e.before_tcp_rates)[0]:
        return  # this host loses the packets, not the path
    if e.rate("ListenOverflows"):
        return
    found = slow(e)
    rules_out = ("spoofed-flood", "few-sources-flood", "prefix-flood", "synacks-lost", "acks-lost")
    if found is not None:
        facts = [Fact("retrying", found.retrying)]
        if found.counted:
            facts = [
                Fact("finished", found.finished),
                Fact("late", found.late),
                *facts,
                Fact("late_share", round(found.share, 4), found.limit),
                Fact("interval_s", round(e.interval_s, 2), unit="s"),
            ]
        facts += [Fact("prefix", found.prefix.text)] if found.prefix is not None else []
        facts += [Fact("rtt_s", round(found.rtt_s, 3), unit="s")] if found.rtt_s else []
        shortest = min((view.release_time_s for view in e.now.views if view.half_open), default=0.0)
        facts += [Fact("release_time_s", shortest, unit="s")] if 0 < shortest < found.rtt_s else []
        yield Hit(Level.NOTICE, tuple(facts), rules_out=rules_out)
    elif e.now.arrived is None and many(e, e.lasting) and small_share(e):
        yield Hit(Level.NOTICE, flow(e), rules_out=rules_out[:3])


def _theirs(e: Evidence) -> bool:
    """Whether most of those that last are of clients that finish others; true where the kernel tells of none."""
    known = np.count_nonzero(e.sources.known & e.sources.last)
    return e.now.completers is None or bool(known >= e.lasting.count * MOST)


def small_share(e: Evidence) -> bool:
    """Whether those that last are a small part of what arrives, and do not ask again."""
    arrivals = e.lasting.per_s + e.cookies_unanswered_per_s + e.completions_per_s
    few = arrivals - e.completions_per_s < SMALL * arrivals
    return few and _theirs(e) and e.lasting.repeated < e.lasting.count * MOST and e.completions_per_s > 0


@rule(
    "handshakes-finish",
    Level.OK,
    needs=(Need.RATES,),
    title="many far clients, whose handshakes finish",
    doc="50 or more are half-open, hardly any lasts, and handshakes finish fast enough for all of them within 3 s; by "
    "eBPF, no more of them wait than the duration of a handshake explains",
    unless="connections last, or fewer handshakes finish",
    advice="nothing",
)
def handshakes_finish(e: Evidence) -> Iterator[Hit]:
    if finish(e):
        n, rate = e.certain.half_open, e.completions_per_s
        facts = [Fact("half_open", n), Fact("completions_per_s", round(rate, 1), unit="per_s")]
        if not e.rate("SyncookiesRecv"):
            # Who finishes by cookie did not wait in the queue (Little's law).
            facts.append(Fact("handshake_s", round(n / rate, 2), unit="s"))
        yield Hit(Level.OK, tuple(facts), rules_out=("spoofed-flood",))


def finish(e: Evidence) -> bool:
    """Whether the half-open ones are handshakes under way that finish."""
    n, rate = e.certain.half_open, e.completions_per_s
    if (
        n < FEW
        or is_flood(e)
        or unsent(e)
        or perhaps_unsent(e)
        or e.lasting.count > n * SMALL
        or not 0 < n <= rate * e.lasting.since_s
    ):
        return False
    # Those at one listener are not under way because others finish at another one.
    return not any(
        view.half_open >= FEW and (view.half_open > e.finished_per_s(view) * e.lasting.since_s or _too_many(e, view))
        for view in e.now.views
    ) and not _younger_than_handshakes(e, n / rate)


def _too_many(e: Evidence, view: ListenerView) -> bool:
    """Whether far more wait than the handshakes that finish explain, by the time that these take (Little's law)."""
    took_s = e.arrivals_at(view)[1]
    # Who finishes by cookie is not among those that were timed.
    if not took_s or e.rate("SyncookiesRecv"):
        return False
    return view.half_open - _TIMES * e.finished_per_s(view) * took_s >= FEW


# A crowd that is still growing has this many times as many under way as finish.
_TIMES: Final = 2.0
# With fewer than this part of them at the look before, they are becoming more.
_GROWS: Final = 0.8
# Lengths of time that are counted in half a second are this uncertain.
_MUCH: Final = 1.5


def _younger_than_handshakes(e: Evidence, mean_s: float) -> bool:
    """Whether none is as old as a handshake takes, if all of them finish at this rate (Little's law): then more come
    than finish. At a single listener a crowd that is still growing looks the same; at several, who asks for a
    connection at one of them has nothing to do with who finishes at another.
    """
    if e.now.arrived is not None and e.now.arrived.packets:
        return False
    if len(e.now.views) < 2 and (e.before is None or e.before.half_open < _GROWS * e.now.half_open):
        return False
    return mean_s > _MUCH * max((view.ages.max for view in e.now.views), default=0.0)
