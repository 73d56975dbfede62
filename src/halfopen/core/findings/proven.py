"""Sources that are proven and are no clients: the only ones that are offered for a block.

A SYN proves nothing of its source, nor does an RST: it is what the owner of a forged address answers, and needs no
number of ours. The last ACK of a handshake does. Whoever sends it is connected, unless the listener defers
(TCP_DEFER_ACCEPT): then the request waits for data, and when the time to wait is up its SYN-ACK is sent again. Every
TCP answers that, and is accepted (`syn_ack_recalc()`, `tcp_check_req()`). So a host whose requests outlast that time is
gone; or, while more SYNs of it come, none that connects.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from halfopen.core import units
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.findings.few_hosts import FEW_HOSTS
from halfopen.core.findings.lasting import SLOW_S
from halfopen.core.findings.sources import SOME
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Numbers, Prefix, is_v4
from halfopen.core.policy.actions import Block

_BLOCKED_S: Final = 600.0


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


def block(e: Evidence, view: ListenerView, hosts: list[Prefix], reason: str) -> tuple[Cure, ...]:
    """The cure that blocks hosts at a listener's port; none where there are none."""
    if not hosts:
        return ()
    sources = tuple(units.prefix(one.text) for one in hosts)
    return ((Block(e.now.sample.where, sources, _BLOCKED_S, reason, view.port),),)
