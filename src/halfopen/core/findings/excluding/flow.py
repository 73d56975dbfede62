"""Floods and paths: excluded by handshakes that finish, clients that ask again, and where the lasting ones are from."""

from __future__ import annotations

import numpy as np

from halfopen.core.addresses import AF_INET6
from halfopen.core.findings.contrast import as_drawn, of_no_client
from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.few_hosts import FEW_HOSTS
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.floods import MOST, flood, held_by, many, unanswered_per_s
from halfopen.core.findings.lasting import asked_again
from halfopen.core.findings.lost import lost_by_queues
from halfopen.core.findings.rules.path import finish, small_share
from halfopen.core.findings.slow import slow
from halfopen.core.findings.sources import SOME
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES

_FLOODS = ("spoofed-flood", "few-sources-flood", "prefix-flood")


def calm(e: Evidence) -> Against:
    """That there is too little of anything for these causes: few are half-open, and no SYN met a full queue."""
    # A full accept queue drops as well, and is no concern of these.
    dropped = e.rate("ListenDrops") - e.rate("ListenOverflows")
    if not e.rates or any(e.full()) or dropped > 0 or e.rate("SyncookiesSent"):
        return ()
    n = e.certain.half_open
    return (Fact("half_open", n, FEW),) if n < FEW else ()


def _finishes(e: Evidence) -> Against:
    """That the half-open ones are handshakes that finish."""
    small = many(e, e.lasting) and small_share(e)
    if not e.rates or not (small or finish(e)):
        return ()
    return (
        Fact("unanswered_per_s", round(unanswered_per_s(e, e.lasting), 1), unit="per_s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
    )


def _asks_again(e: Evidence) -> Against:
    """That those that last are clients that are there."""
    if e.lasting.count < SOME or e.lasting.repeated < e.lasting.count * MOST:
        return ()
    return Fact("lasting", e.lasting.count), Fact("repeated", e.lasting.repeated, round(e.lasting.count * MOST))


def _finish_others(e: Evidence) -> Against:
    """That those that last are of sources that finish other handshakes, now or lately."""
    last = int(np.count_nonzero(e.sources.last))
    known = int(np.count_nonzero(e.sources.last & e.sources.known))
    if last < SOME or known < last * MOST:
        return ()
    return Fact("lasting", last), Fact("finish_others", known, round(last * MOST))


def _no_flood(e: Evidence) -> Against:
    return calm(e) or _finishes(e) or _asks_again(e) or _finish_others(e)


@excluded("spoofed-flood", rivals=("few-sources-flood", "prefix-flood", "synacks-lost", "acks-lost", "slow-path"))
def no_spoofed_flood(e: Evidence) -> Against:
    return _no_flood(e) or (() if e.lasting.count < SOME else _hosts(e) or _network(e))


def _hosts(e: Evidence) -> Against:
    """That a few hosts hold those that last."""
    n = e.lasting.sources.distinct
    return (Fact("distinct_sources", n, FEW_HOSTS),) if n <= FEW_HOSTS else ()


def _network(e: Evidence) -> Against:
    """That one prefix holds those that last."""
    prefix = held_by(e)
    return () if prefix is None else (Fact("prefix", prefix.text),)


@excluded(
    "few-sources-flood",
    rivals=("spoofed-flood", "prefix-flood", "synacks-lost", "acks-lost", "slow-path"),
    by_source=True,
)
def no_flood_of_a_few(e: Evidence) -> Against:
    if found := _no_flood(e):
        return found
    sources = e.lasting.sources
    return (Fact("distinct_sources", sources.distinct, FEW_HOSTS),) if sources.distinct > FEW_HOSTS else ()


@excluded(
    "prefix-flood",
    rivals=("spoofed-flood", "few-sources-flood", "synacks-lost", "acks-lost", "slow-path"),
    by_source=True,
)
def no_flood_of_a_network(e: Evidence) -> Against:
    if found := _no_flood(e):
        return found
    if e.lasting.count < SOME:
        return ()
    if few := _hosts(e):
        return few
    top = e.lasting.sources.top[0]
    return () if held_by(e) is not None else (Fact("prefix", top.prefix), Fact("share", round(top.share, 4), MOST))


@excluded("synacks-lost", rivals=(*_FLOODS, "acks-lost"))
def no_lost_synacks(e: Evidence) -> Against:
    """Young ones count as well: a client asks again after a second, before its handshake is one that lasts."""
    columns = e.now.columns
    if columns is None:
        return ()
    again = asked_again(e.now, columns) & ~e.now.is_deferred
    repeated = int(np.count_nonzero(again))
    if repeated >= SOME:
        return ()
    # Clients that give up within a second never ask again, such as checks that wait for half of one.
    last = e.sources.numbers[e.sources.last]
    if e.lasting.count >= FEW and not of_no_client(last) and e.lasting.sources.distinct:
        return ()
    return Fact("lasting", e.lasting.count), Fact("repeated", repeated, SOME)


@excluded("synacks-unsent")
def no_unsent_synacks(e: Evidence) -> Against:
    """Whose second SYN-ACK was sent shows that they can be."""
    again = int(np.sum([sum(view.retransmits[1:]) for view in e.now.views]))
    return (Fact("sent_again", again),) if again or not e.now.half_open else ()


@excluded("no-route-back")
def routes_back(e: Evidence) -> Against:
    if e.rates and not e.rate("ListenDrops"):
        return (Fact("dropped_syns_per_s", 0, unit="per_s"),)
    # An IPv6 route that forbids or refuses is not counted (`ip6_dst_lookup_tail()`).
    known = e.before_tcp.ip is not None and e.before_tcp.earlier is not None
    known = known and not any(view.family == AF_INET6 for view in e.now.views)
    return (Fact("no_route_per_s", 0, unit="per_s"),) if known and not e.before_tcp_rates.no_route else ()


@excluded("acks-lost", rivals=(*_FLOODS, "synacks-lost", "slow-path"))
def no_lost_acks(e: Evidence) -> Against:
    if found := calm(e) or _asks_again(e):
        return found
    # Clients of a few networks may never have got in, so that the kernel remembers none of them.
    last = e.sources.numbers[e.sources.last]
    if e.now.columns is None or not of_no_client(last, SOME):
        return ()
    silenced = int(np.count_nonzero(e.sources.silenced))
    drawn = (Fact("drawn_sources", e.lasting.sources.distinct),) if as_drawn(last, SOME) else ()
    found = Fact("lasting", e.lasting.count), *drawn, Fact("silenced", silenced, SOME)
    return found if silenced < SOME else ()


@excluded("slow-path", rivals=(*_FLOODS, "synacks-lost", "acks-lost"))
def no_slow_path(e: Evidence) -> Against:
    """Only handshakes that finish, and when, tell."""
    lost = lost_by_queues(e.before_tcp_rates)[0]
    if lost:
        return (Fact("lost_per_s", round(lost, 1), unit="per_s"),)
    # On a lossy path they ask again as well, but finish others.
    finish_others = np.count_nonzero(e.sources.repeated & e.sources.known)
    if (found := _asks_again(e)) and finish_others < MOST * e.lasting.repeated:
        return found
    if e.rates and not e.completions_per_s:
        return (Fact("completions_per_s", 0.0, unit="per_s"),)
    arrived = e.now.arrived
    if arrived is None or slow(e) is not None:
        return ()
    return Fact("finished", arrived.all.finished), Fact("late", arrived.all.late)


@excluded("scan", rivals=("few-sources-flood",))
def no_scan(e: Evidence) -> Against:
    """Every scan resets what answers, and most of its SYNs are reset: nobody listens on the ports that they come to."""
    counted = ("EmbryonicRsts", "OutRsts")
    if e.rates and all(e.rate(name) < SOME for name in counted):
        return tuple(Fact(f"{name}_per_s", round(e.rate(name), 1), SOME, "per_s") for name in counted)
    return ()


@excluded("acked-flood")
def no_flood_of_acks(e: Evidence) -> Against:
    """Such connections wait for data: without any there is no such flood."""
    return (Fact("deferred", e.now.deferred, FEW),) if e.now.deferred < FEW else ()


@excluded("handshakes-finish", rivals=(*_FLOODS, "synacks-lost", "slow-path"))
def not_under_way(e: Evidence) -> Against:
    found = flood(e) if e.rates else None
    if found is not None:
        rate = "unanswered_per_s" if found.ended is None else "came_per_s"
        return (
            Fact(rate, round(found.unanswered_per_s, 1), unit="per_s"),
            Fact("completions_per_s", round(found.completions_per_s, 1), unit="per_s"),
        )
    return _asks_again(e)


@excluded("release-time-long")
def not_too_long(e: Evidence) -> Against:
    """The default is no trouble without a flood; longer ones are not judged by that."""
    if e.now.retries < DEFAULT_SYNACK_RETRIES:
        return (Fact("tcp_synack_retries", e.now.retries, DEFAULT_SYNACK_RETRIES),)
    return _no_flood(e) if e.now.retries == DEFAULT_SYNACK_RETRIES else ()
