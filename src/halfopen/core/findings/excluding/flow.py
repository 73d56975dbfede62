"""Floods and paths: excluded by handshakes that finish, clients that ask again, and where the lasting ones are from."""

from __future__ import annotations

from halfopen.core.findings.evidence import FEW, SOME, Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.rules.flood import FEW_HOSTS, MOST, few, is_flood, one_prefix
from halfopen.core.findings.rules.path import SMALL, asked_again, finish, seen_share

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
    small = e.many_last and seen_share(e) < SMALL and e.completions_per_s > 0
    if not e.rates or not (small or finish(e)):
        return ()
    return (
        Fact("unanswered_per_s", round(e.unanswered_per_s, 1), unit="per_s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
    )


def _asks_again(e: Evidence) -> Against:
    """That those that last are clients that are there."""
    if e.lasting.count < SOME or not asked_again(e):
        return ()
    return Fact("lasting", e.lasting.count), Fact("repeated", e.lasting.repeated, round(e.lasting.count * MOST))


def _no_flood(e: Evidence) -> Against:
    return calm(e) or _finishes(e) or _asks_again(e)


@excluded("spoofed-flood", rivals=("few-sources-flood", "prefix-flood", "synacks-lost", "slow-path"))
def no_spoofed_flood(e: Evidence) -> Against:
    if found := _no_flood(e):
        return found
    if e.lasting.count >= SOME and few(e):
        return (Fact("distinct_sources", e.lasting.sources.distinct, FEW_HOSTS),)
    return _top(e) if e.lasting.count >= SOME and one_prefix(e) else ()


def _top(e: Evidence) -> Against:
    top = e.lasting.sources.top[0]
    return Fact("prefix", top.prefix), Fact("share", round(top.share, 4), MOST)


@excluded("few-sources-flood", rivals=("spoofed-flood", "prefix-flood", "synacks-lost", "slow-path"))
def no_flood_of_a_few(e: Evidence) -> Against:
    if found := _no_flood(e):
        return found
    sources = e.lasting.sources
    return (Fact("distinct_sources", sources.distinct, FEW_HOSTS),) if sources.distinct > FEW_HOSTS else ()


@excluded("prefix-flood", rivals=("spoofed-flood", "few-sources-flood", "synacks-lost", "slow-path"))
def no_flood_of_a_network(e: Evidence) -> Against:
    if found := _no_flood(e):
        return found
    if e.lasting.count < SOME or one_prefix(e):
        return ()
    return (Fact("distinct_sources", e.lasting.sources.distinct, FEW_HOSTS),) if few(e) else _top(e)


@excluded("synacks-lost", rivals=_FLOODS)
def no_lost_synacks(e: Evidence) -> Against:
    if e.now.columns is None:
        return ()
    most = max((lasting.repeated for _, lasting in e.lasting_by_listener), default=0)
    if most < SOME:
        return Fact("lasting", e.lasting.count), Fact("repeated", most, SOME)
    return ()


@excluded("slow-path", rivals=(*_FLOODS, "synacks-lost"))
def no_slow_path(e: Evidence) -> Against:
    if found := calm(e) or _asks_again(e):
        return found
    if not e.rates:
        return ()
    if is_flood(e):
        return (Fact("unanswered_share", round(e.unanswered_share, 4), SMALL),)
    return (Fact("lasting", e.lasting.count, FEW),) if e.lasting.count < SOME else ()


@excluded("handshakes-finish", rivals=(*_FLOODS, "synacks-lost", "slow-path"))
def not_under_way(e: Evidence) -> Against:
    if e.rates and is_flood(e):
        return (
            Fact("unanswered_per_s", round(e.unanswered_per_s, 1), unit="per_s"),
            Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
        )
    return _asks_again(e)


@excluded("release-time-long")
def not_too_long(e: Evidence) -> Against:
    if e.now.retries < 5:
        return (Fact("tcp_synack_retries", e.now.retries, 5),)
    return _no_flood(e)
