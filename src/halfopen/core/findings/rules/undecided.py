"""No rule knows the cause: the observed numbers, and the observation that would decide it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from halfopen.core.findings.contrast import never_finished, rules_drop
from halfopen.core.findings.costs import dropped_syns_per_s
from halfopen.core.findings.cures import Cure, LookAtHost, LookAtPackets, LookAtRoute
from halfopen.core.findings.deferred import filled
from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.findings.few_hosts import FEW_HOSTS, HELD
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.floods import LEAST_PER_S, MOST, WEIGHTY, doubtful, unanswered_per_s, unanswered_share
from halfopen.core.findings.registry import rule
from halfopen.core.findings.remedies import longer_queues, look_closer
from halfopen.core.findings.rules.checks import resetting
from halfopen.core.findings.rules.flood import flow
from halfopen.core.findings.sources import SOME
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import narrowest

_ID: Final = "cannot-tell"
# Of a look that a longer one of the same means would tell no more than.
_LONG_LOOK_S: Final = 2.5


def _pressed(view: ListenerView) -> bool:
    """Whether the kernel has begun to prune its SYN queue: above half and above four (`reqsk_timer_handler()`)."""
    return bool(view.syn_queue_limit) and view.held * 2 > max(8, view.syn_queue_limit or 0)


def _packets(e: Evidence) -> LookAtPackets:
    """A look at the packets of those that last, at the listener that most of them are on."""
    last = e.sources.last
    prefix, view = narrowest(e.sources.numbers[last], HELD), e.mostly_at(last)
    return LookAtPackets(e.netns, "" if prefix is None else prefix.text, None if view is None else view.port, _ID)


def _reset_elsewhere(e: Evidence) -> tuple[Fact, ...]:
    """Handshakes that their clients reset, beside SYNs to closed ports, where nobody counted whose they are."""
    reset, sent = e.rate("EmbryonicRsts"), e.rate("OutRsts")
    counted = e.now.arrived is not None and e.now.arrived.packets
    if counted or reset < SOME or sent < reset or e.rate("ListenOverflows"):
        return ()
    return (
        Fact("EmbryonicRsts_per_s", round(reset, 1), unit="per_s"),
        Fact("OutRsts_per_s", round(sent, 1), unit="per_s"),
    )


def _acks(e: Evidence) -> tuple[tuple[Fact, ...], tuple[Cure, ...]]:
    """The reason to think that those that last may be clients whose last ACKs are lost, and where to look for these;
    neither where there is none.
    """
    silent = doubtful(e) if e.rates else None
    rate = silent.unanswered_per_s if silent is not None else unanswered_per_s(e, e.lasting)
    nobody = silent is not None or (e.lasting.count >= SOME and not e.completions_per_s)
    if e.rates and nobody and rules_drop(e, rate):
        dropped = Fact("ruled_out_per_s", round(e.before_tcp_rates.ruled_out, 1), unit="per_s")
        return (dropped,), ((LookAtHost(e.netns, "firewall", "", _ID),),)
    asked = e.sources
    proxied = asked.last & asked.known & ~asked.repeated
    others = int(np.count_nonzero(proxied)) if e.completions_per_s else 0
    if silent is None:
        enough = others >= FEW and others >= MOST * e.lasting.count
        return ((Fact("finish_others", others, e.lasting.count),) if enough else ()), ()
    prefix = narrowest(asked.numbers[asked.strange], HELD) if asked.strange.any() else None
    prefix = silent.hosts[0][0] if silent.hosts else prefix
    port = None if silent.where is None else silent.where.port
    look = LookAtPackets(e.netns, "" if prefix is None else prefix.text, port, _ID)
    if never_finished(e):
        return (Fact("finished_ever", 0),), ((look,),)
    begun = Fact("from_hosts_per_s", round(silent.unanswered_per_s, 1), unit="per_s")
    return (Fact("hosts", len(silent.hosts)), begun), ((look,),)


@rule(
    _ID,
    Level.NOTICE,
    Level.WARNING,
    title="cannot tell yet",
    doc="50 or more connections are half-open, a queue is more than half full, SYNs were dropped, or "
    "handshakes were reset and the senders of the RSTs were not counted; and the facts do not "
    "decide for any cause, or the cause that is named does not "
    "explain a crowd of silent sources; a warning while a queue is more than half full, SYNs are "
    "dropped, or what looks like a flood may be clients whose last ACKs are lost",
    unless="a cause is named that explains the connections that last (while a queue is full, more than a slow path)",
    advice="run the proposed command, which looks for longer",
    fallback=True,
)
def cannot_tell(e: Evidence) -> Iterator[Hit]:
    explained = [one.view for one in filled(e)]
    pressed = [view for view in e.now.listeners if _pressed(view) and view not in explained]
    held = [view for view in e.now.listeners if view.accept_queue]
    waiting = [v for v in held for q in e.accept_queues(v) if q.held * 2 > q.cap and q.before is None]
    many = e.certain.half_open >= FEW
    unexplained = e.total("ListenDrops") - e.total("ListenOverflows")
    dropped = dropped_syns_per_s(e) >= max(SOME / e.interval_s, LEAST_PER_S)
    resets, reset = _reset_elsewhere(e), e.rate("EmbryonicRsts")
    # Of many clients, more than finish: no age tells of them.
    most_reset = reset >= FEW and reset > e.completions_per_s and resetting(e)[1] > FEW_HOSTS
    if not (pressed or waiting or many or unexplained > 0 or resets or most_reset):
        return
    facts = [Fact("half_open", e.certain.half_open), *(flow(e, e.lasting) if e.rates else ())]
    fullest = max(pressed, key=lambda view: view.fill or 0.0, default=None)
    if fullest is not None:
        facts.append(Fact("syn_queue", fullest.held, max(fullest.held, fullest.syn_queue_limit or 0)))
    elif waiting:
        facts.append(Fact("accept_queue", waiting[0].accept_queue, waiting[0].accept_queue_limit))
    elif unexplained > 0 and (dropped or not many):
        facts += _dropped(e, unexplained)
    if not resets and reset >= SOME and reset > e.completions_per_s:
        facts.append(Fact("reset_per_s", round(reset, 1), unit="per_s"))
    if most_reset:
        facts.append(Fact("resetting_sources", resetting(e)[0], FEW_HOSTS))
    if resets and not (many or fullest is not None or waiting):
        facts += resets
    cures: tuple[Cure, ...] = look_closer(e, _ID)
    if any(fact.name == "dropped_syns" for fact in facts) and e.rates:
        cures = ((LookAtRoute(e.netns, "", _ID),),) if dropped else ()
    elif e.rates and not e.counted and e.interval_s >= _LONG_LOOK_S and e.lasting.count >= SOME:
        # No look would count whose handshakes finish: packets show it.
        cures = ((_packets(e),),)
    facts_of, cures_of = _acks(e)
    facts, cures = [*facts, *facts_of], cures_of or cures
    where = fullest or next(iter(waiting), None)
    # A flood or an outage: either is one.
    silent = doubtful(e) if e.rates else None
    lost = silent is not None and silent.ended is None
    if any(fact.name == "finish_others" for fact in facts_of):
        lost = unanswered_share(e, unanswered_per_s(e, e.lasting), e.completions_per_s) >= WEIGHTY
    level = Level.WARNING if pressed or dropped or lost else Level.NOTICE
    # Whether those who fill a queue are clients is what is not decided.
    full = () if facts_of else e.full()
    longer = [cure for view in full if view in pressed for cure in longer_queues(e, view, _ID)][:1]
    costs = dropped_syns_per_s(e) if dropped else 0.0
    yield Hit(level, tuple(facts), where, cures=(*cures, *longer), costs_per_s=costs)


def _dropped(e: Evidence, unexplained: int) -> tuple[Fact, ...]:
    """The SYNs dropped so far for no reason that a counter names, and how many are dropped now."""
    if not e.rates:
        return (Fact("dropped_syns", unexplained),)
    now = Fact("dropped_syns_per_s", round(dropped_syns_per_s(e), 1), unit="per_s")
    return Fact("dropped_syns", unexplained), now, Fact("interval_s", round(e.interval_s, 2), unit="s")
