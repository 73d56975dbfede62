"""A few hosts that acknowledge SYN-ACKs and send nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.evidence import FEW, Evidence, Need
from halfopen.core.findings.few_hosts import FEW_HOSTS
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.proven import block, proven
from halfopen.core.findings.registry import rule
from halfopen.core.model.listeners import ListenerView

# Of a SYN queue: below, they harm nobody.
_WEIGHTY: Final = 0.1


@rule(
    "acked-flood",
    Level.NOTICE,
    Level.WARNING,
    Level.CRITICAL,
    needs=(Need.RATES,),
    title="a few hosts acknowledge SYN-ACKs and send nothing more",
    doc="on a listener with `TCP_DEFER_ACCEPT`, by eBPF: a host holds 50 or more connections past "
    "the time that the listener waits for data, although their SYN-ACK was then retransmitted, "
    "and begins more of them; a warning from a tenth of the SYN queue on, critical while the "
    "queue is full",
    unless="any handshake of that host finishes, now or recently, or the host begins no more (it is gone)",
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
        yield Hit(_level(e, view, held), facts, view, ("spoofed-flood",), block(e, view, hosts, "acked-flood"))


def _level(e: Evidence, view: ListenerView, held: int) -> Level:
    if any(full.key == view.key for full in e.full()):
        return Level.CRITICAL
    return Level.WARNING if held >= _WEIGHTY * (view.syn_queue_limit or 0) else Level.NOTICE
