"""SYNs that nobody means to follow up: from forged sources, from a few hosts, from one prefix.

What decides is the share of arrivals that is never answered, measured over the same time, never the number that is
half-open: handshakes from far away keep many half-open at any moment, and all of them finish.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.lasting import SLOW_S
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import cookies_on, longer_queues, release, shorter_release_time
from halfopen.core.model.listeners import ListenerView

# Of all arrivals; below it the sources may be those of clients on a bad path.
MOST: Final = 0.5
# A client that is there asks again when it hears nothing; among forged ones a chance repetition is rare.
_ASK_AGAIN: Final = 0.05
FEW_HOSTS: Final = 8
# As if drawn: hardly an address twice, or too many addresses for one prefix to stand out.
_SPREAD: Final = 0.5
_MANY_ADDRESSES: Final = 1000
_STANDS_OUT: Final = 0.02


def is_flood(e: Evidence) -> bool:
    """Whether most arrivals are never answered, and hardly a client asks again."""
    return e.many_last and e.repeated_share < _ASK_AGAIN and e.unanswered_share >= MOST


def few(e: Evidence) -> bool:
    return e.lasting.sources.distinct <= FEW_HOSTS


def one_prefix(e: Evidence) -> bool:
    top = e.lasting.sources.top
    return not few(e) and bool(top) and top[0].share >= MOST


def _spread(e: Evidence) -> bool:
    sources = e.lasting.sources
    if few(e) or one_prefix(e):
        return False
    even = sources.distinct >= _MANY_ADDRESSES and sources.top[0].share <= _STANDS_OUT
    return even or sources.distinct >= e.lasting.count * _SPREAD


def _level(e: Evidence) -> Level:
    """By what it does to others: whether SYNs of new clients are dropped."""
    turned_away = e.rate("ListenDrops") > 0 or (e.cookies == 0 and any(e.full()))
    return Level.CRITICAL if turned_away else Level.WARNING


def _where(e: Evidence) -> ListenerView | None:
    """The listener that most of them are on."""
    first = e.lasting_by_listener[0]
    return first[0] if first[1].count > e.lasting.count * MOST else None


def flow(e: Evidence) -> tuple[Fact, ...]:
    """How many arrive, how many of them finish, how many last."""
    return (
        Fact("lasting", e.lasting.count),
        Fact("lasting_since_s", e.lasting.since_s, unit="s"),
        Fact("unanswered_per_s", round(e.unanswered_per_s, 1), unit="per_s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
        Fact("unanswered_share", round(e.unanswered_share, 4), MOST),
        Fact("repeated", e.lasting.repeated),
        Fact("distinct_sources", e.lasting.sources.distinct),
        Fact("cookies_unanswered_per_s", round(e.cookies_unanswered_per_s, 1), unit="per_s"),
    )


def _prefix(e: Evidence) -> tuple[Fact, ...]:
    top = e.lasting.sources.top[0]
    return Fact("prefix", top.prefix), Fact("share", round(top.share, 4), MOST)


def _room(view: ListenerView | None) -> tuple[Fact, ...]:
    if view is None or not view.syn_queue_limit:
        return ()
    return (Fact("syn_queue", view.held, max(view.held, view.syn_queue_limit)),)


def _cures(e: Evidence, reason: str, source: str | None = None) -> tuple[Cure, ...]:
    """What keeps clients getting in comes first; a release frees the queue for a moment only.

    A few hosts or one network may be a proxy or a load balancer, so nothing is released while handshakes finish.
    """
    where = _where(e)
    full = [view for view in e.full() if where is None or view.key == where.key]
    queues = [cure for view in full[:1] for cure in longer_queues(e, view, reason)]
    freed: tuple[Cure, ...] = ()
    if e.lasting.since_s >= SLOW_S and (reason == "spoofed-flood" or _nothing_finishes(e)):
        freed = (release(e.now.sample.where, reason, view=None if source else where, source=source),)
    if source:
        return (*cookies_on(e, reason), *freed, *shorter_release_time(e, reason))
    return (*cookies_on(e, reason), *shorter_release_time(e, reason), *queues, *freed)


def _hit(e: Evidence, reason: str, rules_out: tuple[str, ...], source: str | None = None) -> Hit:
    where = _where(e)
    facts = (*flow(e), *(_prefix(e) if reason != "spoofed-flood" else ()), *_room(where))
    return Hit(_level(e), facts, where, rules_out, _cures(e, reason, source))


@rule(
    "spoofed-flood",
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES, Need.LASTING),
    title="SYN flood from forged addresses",
    doc="most SYN-ACKs are never answered, hardly a client asks again, and the sources are spread as if drawn",
    unless="handshakes finish at about the rate at which they arrive, or the same clients ask again",
    advice="leave SYN cookies on; `halfopen tune apply --release-time 7s`; a longer queue. `halfopen watch "
    "--release-older-than 5s` keeps the queue short meanwhile",
)
def spoofed_flood(e: Evidence) -> Iterator[Hit]:
    if is_flood(e) and _spread(e):
        yield _hit(e, "spoofed-flood", ("few-sources-flood", "prefix-flood", "synacks-lost", "slow-path"))


@rule(
    "few-sources-flood",
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES, Need.LASTING),
    title="a few hosts flood or are broken",
    doc="most SYN-ACKs are never answered, and at most 8 addresses hold those that last",
    unless="handshakes finish beside them, which the same hosts may have begun: a proxy, a load balancer",
    advice="run the proposed `halfopen release --source …`, then block the prefix in a firewall",
)
def few_sources_flood(e: Evidence) -> Iterator[Hit]:
    if is_flood(e) and few(e):
        top = e.lasting.sources.top[0]
        source = top.prefix if top.share >= MOST and _nothing_finishes(e) else None
        yield _hit(e, "few-sources-flood", ("spoofed-flood", "synacks-lost"), source)


@rule(
    "prefix-flood",
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES, Need.LASTING),
    title="one network floods or is broken",
    doc="most SYN-ACKs are never answered, and one prefix (IPv4 /24, IPv6 /64) holds half of those that last",
    unless="handshakes finish beside them, which the same network may have begun",
    advice="run the proposed `halfopen release --source …`, then block the prefix in a firewall",
)
def prefix_flood(e: Evidence) -> Iterator[Hit]:
    if is_flood(e) and one_prefix(e):
        source = e.lasting.sources.top[0].prefix if _nothing_finishes(e) else None
        yield _hit(e, "prefix-flood", ("spoofed-flood", "synacks-lost"), source)


def _nothing_finishes(e: Evidence) -> bool:
    """Whether no source can have completed a handshake between the two looks."""
    return e.completions_per_s == 0


@rule(
    "release-time-long",
    Level.NOTICE,
    needs=(Need.RATES, Need.LASTING),
    title="the release time is long",
    doc="in a flood, while `tcp_synack_retries` is 5 or more",
    unless="there is no flood: the default harms nobody then",
    advice="a release time of 7 s",
    rare=True,
)
def release_time_long(e: Evidence) -> Iterator[Hit]:
    if is_flood(e) and e.now.retries >= 5:
        facts = Fact("release_time_s", e.now.release_time_s, unit="s"), Fact("tcp_synack_retries", e.now.retries)
        yield Hit(Level.NOTICE, facts, cures=shorter_release_time(e, "release-time-long"))
