"""Rules about the local ports that outgoing connections take, most of them in TIME_WAIT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.model.closing_ports import Destination
from halfopen.core.policy.actions import ChangeSetting, Look
from halfopen.core.tune.keys import TW_REUSE

_NEEDS: Final = (Need.CLOSING,)
# From half on connect() searches the even half of the range first, in vain: 14 times the CPU time (docs/closing.md).
_SLOW: Final = 0.5
_HIGH: Final = 0.8
_END: Final = 0.95
# Values of `tcp_tw_reuse`.
_ON: Final = 1
_ON_LOOPBACK: Final = 2


@rule(
    "ports-near-end",
    *(Level.NOTICE, Level.WARNING, Level.CRITICAL),
    title="the local ports towards one destination run out",
    doc="half of the local ports (`ip_local_port_range` without the reserved ones) are taken towards one address and "
    "port: connect() takes 14 times the CPU time from there on; a warning from 80 %, critical from 95 % on",
    unless="less than half are taken towards each destination, those in TIME_WAIT that `tcp_tw_reuse` lets connect() "
    "take again left out",
    advice="reuse connections; a wider `ip_local_port_range`; more addresses on either side; `tcp_tw_reuse` = 1 on the "
    "side that connects",
    needs=_NEEDS,
    rare=True,
)
def ports_near_end(e: Evidence) -> Iterator[Hit]:
    if e.closing is None:
        return
    reuse = e.closing.sockets.numbers("tcp_tw_reuse")
    for one in e.closing.destinations:
        waiting = 0 if _are_reused(e, one) else one.waiting
        taken = one.used - one.waiting + waiting
        share = taken / one.room if one.room else 0.0
        if share < _SLOW:
            continue
        level = Level.CRITICAL if share >= _END else Level.WARNING if share >= _HIGH else Level.NOTICE
        facts = (
            Fact("peer", one.peer),
            Fact("local", one.local),
            Fact("ports", taken, one.room),
            Fact("waiting", waiting),
            *(Fact("tcp_tw_reuse", n) for n in reuse[:1]),
        )
        yield Hit(level, facts, cures=_cures(e, one, waiting, taken))


def _are_reused(e: Evidence, one: Destination) -> bool:
    """Whether connect() takes the ports in TIME_WAIT again, a second after the last packet (`tcp_twsk_unique()`)."""
    if e.closing is None or e.closing.sockets.numbers("tcp_timestamps")[:1] == (0,):
        return False
    reuse = e.closing.sockets.numbers("tcp_tw_reuse")[:1]
    return reuse == (_ON,) or (reuse == (_ON_LOOPBACK,) and one.loops)


def _cures(e: Evidence, one: Destination, waiting: int, taken: int) -> tuple[Cure, ...]:
    look = (Look(e.netns, f"closing list --peer {one.peer}", "ports-near-end"),)
    if waiting < taken / 2 or e.closing is None or e.closing.sockets.numbers("tcp_timestamps")[:1] == (0,):
        return (look,)
    return ((ChangeSetting(e.netns, TW_REUSE, _ON, "ports-near-end"),), look)


@rule(
    "tw-overflow",
    Level.NOTICE,
    title="there is no room for TIME_WAIT",
    doc="`TCPTimeWaitOverflow` has risen: above `tcp_max_tw_buckets` a connection is closed without TIME_WAIT",
    unless="the counter is 0, or did not move between two looks",
    advice="a larger `tcp_max_tw_buckets`; a lower one is no cure",
    needs=_NEEDS,
    rare=True,
)
def tw_overflow(e: Evidence) -> Iterator[Hit]:
    total = e.total("TCPTimeWaitOverflow")
    if not total or (e.before is not None and not e.rate("TCPTimeWaitOverflow")):
        return
    limit = () if e.closing is None else e.closing.sockets.numbers("tcp_max_tw_buckets")
    facts = [Fact("TCPTimeWaitOverflow", total), *(Fact("tcp_max_tw_buckets", n) for n in limit[:1])]
    if e.before is not None:
        facts.append(Fact("overflows_per_s", e.rate("TCPTimeWaitOverflow"), unit="per_s"))
    yield Hit(Level.NOTICE, tuple(facts))
