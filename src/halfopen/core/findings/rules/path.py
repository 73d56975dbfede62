"""Real clients on a path that loses packets: SYN-ACKs that do not arrive, handshakes that take long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import Cure, LookAtRoute
from halfopen.core.findings.evidence import FEW, SOME, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.lasting import Lasting
from halfopen.core.findings.registry import rule
from halfopen.core.findings.rules.flood import MOST, flow, is_flood

# A prefix that holds most of them is named.
_NAMED: Final = 0.5


@rule(
    "synacks-lost",
    Level.WARNING,
    needs=(Need.LASTING,),
    title="SYN-ACKs do not reach clients",
    doc="most of those that last on a listener ask again: the SYN-ACK was sent more often than the timer sends it",
    unless="they do not ask again, as forged sources never do",
    advice="repair the way back: an asymmetric route, a firewall, a wrong source address; never release these clients",
)
def synacks_lost(e: Evidence) -> Iterator[Hit]:
    for view, lasting in e.lasting_by_listener:
        if lasting.repeated >= SOME and lasting.repeated >= lasting.count * MOST:
            yield Hit(Level.WARNING, _lost(e, lasting), view, ("spoofed-flood",), _way_back(e, lasting))


def _lost(e: Evidence, lasting: Lasting) -> tuple[Fact, ...]:
    top = lasting.sources.top[0]
    found = [
        Fact("lasting", lasting.count),
        Fact("repeated", lasting.repeated, lasting.count * MOST),
        Fact("oldest_s", round(lasting.oldest_s, 1), unit="s"),
        Fact("distinct_sources", lasting.sources.distinct),
    ]
    if top.share >= _NAMED:
        found += [Fact("prefix", top.prefix), Fact("share", round(top.share, 4))]
    if e.rates:
        found.append(Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"))
    return tuple(found)


def _way_back(e: Evidence, lasting: Lasting) -> tuple[Cure, ...]:
    if not lasting.address:
        return ()
    return ((LookAtRoute(e.netns, lasting.address, "synacks-lost"),),)


@rule(
    "slow-path",
    Level.NOTICE,
    needs=(Need.RATES, Need.LASTING),
    title="slow or lossy path",
    doc="50 or more last, and they are a small share (below 10 %) of the handshakes that arrive",
    unless="the share is larger",
    advice="nothing, while the queue is not filling",
)
def slow_path(e: Evidence) -> Iterator[Hit]:
    if e.many_last and not asked_again(e) and seen_share(e) < SMALL and e.completions_per_s > 0:
        yield Hit(Level.NOTICE, flow(e), rules_out=("spoofed-flood", "few-sources-flood", "prefix-flood"))


SMALL: Final = 0.1


def asked_again(e: Evidence) -> bool:
    """Whether most of those that last ask again."""
    return e.repeated_share >= MOST


def seen_share(e: Evidence) -> float:
    """The share of arrivals that is never answered, by what was seen."""
    arrivals = e.unanswered_per_s + e.completions_per_s
    return e.unanswered_per_s / arrivals if arrivals else 0.0


@rule(
    "handshakes-finish",
    Level.OK,
    needs=(Need.RATES,),
    title="many far clients, whose handshakes finish",
    doc="50 or more are half-open, hardly any lasts, and handshakes finish fast enough for all of them within 3 s",
    unless="they last, or fewer finish",
    advice="nothing",
)
def handshakes_finish(e: Evidence) -> Iterator[Hit]:
    if finish(e):
        n, rate = e.certain.half_open, e.completions_per_s
        facts = (
            Fact("half_open", n),
            Fact("completions_per_s", round(rate, 1), unit="per_s"),
            Fact("handshake_s", round(n / rate, 2), unit="s"),
        )
        yield Hit(Level.OK, facts, rules_out=("spoofed-flood",))


def finish(e: Evidence) -> bool:
    """Whether the half-open ones are handshakes under way that finish."""
    n, rate = e.certain.half_open, e.completions_per_s
    return n >= FEW and not is_flood(e) and e.lasting.count <= n * SMALL and 0 < n <= rate * e.lasting.since_s
