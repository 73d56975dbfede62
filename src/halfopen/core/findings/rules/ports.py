"""Rules about the local ports that outgoing connections take, most of them in TIME_WAIT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule

_NEEDS: Final = (Need.CLOSING,)
# From half on connect() searches the even half of the range first, in vain: 14 times the CPU time (docs/closing.md).
_SLOW: Final = 0.5
_HIGH: Final = 0.8
_END: Final = 0.95


@rule(
    "ports-near-end",
    *(Level.NOTICE, Level.WARNING, Level.CRITICAL),
    title="the local ports towards one destination run out",
    doc="half of the local ports (`ip_local_port_range` without the reserved ones) are taken towards one address and "
    "port: connect() takes 14 times the CPU time from there on; a warning from 80 %, critical from 95 % on",
    unless="less than half are taken towards each destination",
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
        if one.share < _SLOW:
            continue
        level = Level.CRITICAL if one.share >= _END else Level.WARNING if one.share >= _HIGH else Level.NOTICE
        facts = (
            Fact("peer", one.peer),
            Fact("local", one.local),
            Fact("ports", one.used, one.room),
            Fact("waiting", one.waiting),
            *(Fact("tcp_tw_reuse", n) for n in reuse[:1]),
        )
        yield Hit(level, facts)


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
