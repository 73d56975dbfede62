"""Why there are many: as far as ages, retransmissions and sources tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import SLOW_S, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import release
from halfopen.core.model.model import Model

MANY: Final = 1000
# More distinct sources than this share of the connections: nobody tries twice, as no real client would.
SPREAD: Final = 0.3
MOST: Final = 0.5


def _is_burst(model: Model) -> bool:
    return model.oldest_s < 1.0 and model.half_open < MANY


def _counts(model: Model) -> tuple[Fact, ...]:
    return Fact("half_open", model.half_open), Fact("arrivals_per_s", model.arrivals_per_s)


def _cures(model: Model, reason: str) -> tuple[Cure, ...]:
    """A release where the oldest may go: of one listener where one has most of them."""
    if model.oldest_s <= SLOW_S:
        return ()
    first = model.listeners[0] if model.listeners else None
    where = first if first is not None and first.half_open > model.half_open * MOST else None
    return (release(model.sample.where, reason, view=where),)


def _few(model: Model) -> bool:
    return bool(model.sources) and model.sources[0].share >= MOST


def _spread(model: Model) -> bool:
    return model.distinct_sources > model.half_open * SPREAD


def _unanswered(model: Model) -> float:
    """The share that left two or more SYN-ACKs unanswered."""
    return sum(sum(v.retransmits[2:]) for v in model.listeners) / model.half_open


@rule("burst", Level.NOTICE, needs=(Need.MANY,), doc="50 to 999, none older than a second")
def burst(e: Evidence) -> Iterator[Hit]:
    if _is_burst(e.certain):
        yield Hit(Level.NOTICE, _counts(e.certain))


@rule("few-sources", Level.WARNING, needs=(Need.MANY,), doc="half of them or more come from one prefix")
def few_sources(e: Evidence) -> Iterator[Hit]:
    model = e.certain
    if _is_burst(model) or not _few(model):
        return
    top = model.sources[0]
    cures: tuple[Cure, ...] = ()
    if model.oldest_s > SLOW_S:
        cures = (release(e.now.sample.where, "few-sources", source=top.prefix),)
    facts = Fact("prefix", top.prefix), Fact("share", top.share, MOST), Fact("from_prefix", top.half_open)
    yield Hit(Level.WARNING, (*facts, *_counts(model)), rules_out=("spoofed-flood",), cures=cures)


@rule(
    "spoofed-flood",
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.MANY,),
    doc="many sources, hardly one twice; critical from 1,000 on",
)
def spoofed_flood(e: Evidence) -> Iterator[Hit]:
    model = e.certain
    if _is_burst(model) or _few(model) or not _spread(model):
        return
    level = Level.CRITICAL if model.half_open >= MANY else Level.WARNING
    facts = (Fact("distinct_sources", model.distinct_sources, model.half_open * SPREAD), *_counts(model))
    yield Hit(level, facts, rules_out=("few-sources",), cures=_cures(model, "spoofed-flood"))


@rule("unanswered", Level.WARNING, needs=(Need.MANY,), doc="half of them or more left two SYN-ACKs unanswered")
def unanswered(e: Evidence) -> Iterator[Hit]:
    model = e.certain
    share = _unanswered(model)
    if not _is_burst(model) and share >= MOST:
        yield Hit(Level.WARNING, (Fact("unanswered", share, MOST),), cures=_cures(model, "unanswered"))


@rule("slow-clients", Level.WARNING, needs=(Need.MANY,), doc="50 or more and nothing else explains them")
def slow_clients(e: Evidence) -> Iterator[Hit]:
    model = e.certain
    if _is_burst(model) or _few(model) or _spread(model) or _unanswered(model) >= MOST:
        return
    facts = (*_counts(model), Fact("oldest_s", model.oldest_s, unit="s"))
    yield Hit(Level.WARNING, facts, cures=_cures(model, "slow-clients"))
