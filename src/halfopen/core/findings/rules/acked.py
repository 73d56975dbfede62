"""A few hosts that acknowledge SYN-ACKs and send nothing more: the only sources that are proven and are no clients.

A SYN proves nothing of its source, nor does an RST: it is what the owner of a forged address answers, and needs no
number of ours. The last ACK of a handshake does. Whoever sends it is connected, unless the listener defers
(TCP_DEFER_ACCEPT): then the request waits for data, and when the time to wait is up its SYN-ACK is sent again. Every
TCP answers that, and is accepted (`syn_ack_recalc()`, `tcp_check_req()`). So a host whose requests outlast that time is
gone; or, while more SYNs of it come, none that connects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import FEW, Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.floods import FEW_HOSTS
from halfopen.core.findings.lasting import SLOW_S
from halfopen.core.findings.registry import rule
from halfopen.core.findings.sources import SOME
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Numbers, Prefix, is_v4
from halfopen.core.policy.actions import Block
from halfopen.core.units import prefix as network

_BLOCKED_S: Final = 600.0
# Of a SYN queue: below, they harm nobody.
_WEIGHTY: Final = 0.1


def proven(e: Evidence, place: int, view: ListenerView) -> tuple[list[Prefix], int]:
    """The hosts at a listener, by its place in the Model's `views`, that are proven and are no clients, the most first;
    and how many requests they hold past the time that the listener waits for data."""
    columns, arrived = e.now.columns, e.now.arrived
    if columns is None or not columns.exact or not view.defers or not e.counted or arrived is None:
        return [], 0
    # The ACK of a client that sends data waits as well where the accept queue has no room.
    if e.rate("ListenOverflows") or any(queue.full for queue in e.accept_queues(view)):
        return [], 0
    overdue = e.now.is_deferred & e.at(place) & (columns.ages_s >= view.defer_accept_s + SLOW_S)
    if np.count_nonzero(overdue) < FEW:
        return [], 0
    numbers, counts = np.unique(e.sources.numbers[overdue], return_counts=True)
    numbers = numbers.astype(np.uint64)
    mine = arrived.sources[arrived.sources["port"] == view.port]
    coming = mine["number"][mine["syns"].astype(np.int64) - mine["repeats"] >= SOME]
    known = e.sources.completers
    guilty = (counts >= FEW) & np.isin(numbers, coming)
    guilty &= ~known.finished_now(numbers) & ~known.finished_lately(numbers)
    places = np.flatnonzero(guilty)
    places = places[np.argsort(-counts[places], kind="stable")][:FEW_HOSTS]
    return [_prefix(numbers, at) for at in places.tolist()], int(counts[places].sum())


def _prefix(numbers: Numbers, at: int) -> Prefix:
    v4 = bool(is_v4(numbers)[at])
    return Prefix(4 if v4 else 6, int(numbers[at]), 32 if v4 else 64)


@rule(
    "acked-flood",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES,),
    title="a few hosts acknowledge SYN-ACKs and send nothing more",
    doc="on a listener with `TCP_DEFER_ACCEPT`, by eBPF: a host holds 50 or more connections past the time that the "
    "listener waits for data, although their SYN-ACK was sent again then, and begins more of them; a warning from a "
    "tenth of the SYN queue on, critical while it is full",
    unless="anything of that host finishes, now or lately, or it begins no more (a host that is gone)",
    advice="run the proposed `halfopen block …`: these sources are not forged; a release leaves such connections alone",
    rare=True,
)
def acked_flood(e: Evidence) -> Iterator[Hit]:
    for place, view in enumerate(e.now.views):
        hosts, held = proven(e, place, view)
        if not hosts:
            continue
        facts = (
            Fact("prefix", hosts[0].text),
            Fact("hosts", len(hosts), FEW_HOSTS),
            Fact("acked", held, FEW),
            Fact("defer_accept_s", view.defer_accept_s, unit="s"),
            *((Fact("syn_queue", view.held, max(view.held, view.syn_queue_limit)),) if view.syn_queue_limit else ()),
        )
        yield Hit(_level(e, view, held), facts, view, ("spoofed-flood",), _blocked(e, view, hosts))


def _level(e: Evidence, view: ListenerView, held: int) -> Level:
    if any(full.key == view.key for full in e.full()):
        return Level.CRITICAL
    return Level.WARNING if held >= _WEIGHTY * (view.syn_queue_limit or 0) else Level.NOTICE


def _blocked(e: Evidence, view: ListenerView, hosts: list[Prefix]) -> tuple[Cure, ...]:
    sources = tuple(network(one.text) for one in hosts)
    return ((Block(e.now.sample.where, sources, _BLOCKED_S, "acked-flood", view.port),),)
