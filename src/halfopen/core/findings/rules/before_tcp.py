"""Packets that are lost before TCP sees them: no queue of a listener shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.cures import LookAtHost, RaiseConntrack
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.lost import NOTICED, RULED_OUT, lost_by_queues, ruled_out
from halfopen.core.findings.registry import rule

# Of the table; from there on it drops what is new whenever several come at once.
NEARLY_FULL: Final = 0.95
_SOME_FULL: Final = 0.9
# Packets a second: below that, any host on the Internet drops some.
LEAST_PER_S: Final = 2.0
# Of all packets, and of all handshakes.
_HURTS: Final = 0.01
_MANY: Final = 0.05


@rule(
    "conntrack-full",
    Level.WARNING,
    Level.CRITICAL,
    title="the table of tracked connections is full",
    doc="connection tracking (netfilter) drops packets and its table holds 90 % or more of "
    "`nf_conntrack_max` (critical), or the table is 95 % full",
    unless="the table has room",
    advice="raise `nf_conntrack_max`, or exempt the port from tracking (`notrack`)",
)
def conntrack_full(e: Evidence) -> Iterator[Hit]:
    table = e.before_tcp.conntrack
    if table is None or not table.limit:
        return
    fill, drops = table.count / table.limit, e.before_tcp_rates.conntrack_drops
    if fill < (_SOME_FULL if drops else NEARLY_FULL):
        return
    facts = [Fact("tracked", table.count, max(table.count, table.limit))]
    if e.before_tcp.earlier is not None:
        facts.append(Fact("conntrack_drops_per_s", round(drops, 1), unit="per_s"))
    cure = (RaiseConntrack(e.netns, 2 * table.limit, "conntrack-full"),)
    yield Hit(Level.CRITICAL if drops else Level.WARNING, tuple(facts), cures=(cure,), costs_per_s=drops)


@rule(
    "reverse-path-filter",
    Level.NOTICE,
    Level.WARNING,
    needs=(Need.RATES,),
    title="the reverse path filter drops packets",
    doc="`IPReversePathFilter` rises by 2 a second or more: packets came in by a device that does "
    "not lead back to their source; a warning if they are as many as 5 % of the handshakes that "
    "finish, or more",
    unless="the counter does not move",
    advice="repair the route back, or set `rp_filter` of the device to 2 (loose); `log_martians` names the sources",
)
def reverse_path_filter(e: Evidence) -> Iterator[Hit]:
    dropped = e.rate("IPReversePathFilter")
    if dropped < LEAST_PER_S:
        return
    level = Level.WARNING if dropped >= _MANY * e.completions_per_s else Level.NOTICE
    facts = (
        Fact("IPReversePathFilter", e.total("IPReversePathFilter")),
        Fact("IPReversePathFilter_per_s", round(dropped, 1), unit="per_s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
    )
    cure = (LookAtHost(e.netns, "reverse-path", "", "reverse-path-filter"),)
    yield Hit(level, facts, cures=(cure,), costs_per_s=dropped)


@rule(
    "nic-drops",
    Level.NOTICE,
    Level.WARNING,
    title="packets are dropped because the queue of a device or of a CPU is full",
    rare=True,
    doc="a device reports packets that its own queue had no room for, or packets were dropped after "
    "it while the packet queue of a CPU was full: 10 a second or more, and at least one in a "
    "thousand; a warning from one in a hundred on",
    unless="the counters do not move; past totals prove nothing",
    advice="a longer ring (`ethtool -G`), more queues or RPS; for a CPU's queue `net.core.netdev_max_backlog`",
)
def nic_drops(e: Evidence) -> Iterator[Hit]:
    rates, (lost, share, where) = e.before_tcp_rates, lost_by_queues(e.before_tcp_rates)
    if not lost:
        return
    facts = (
        Fact("device", rates.device),
        Fact("where", where),
        Fact("lost_per_s", round(lost, 1), unit="per_s"),
        Fact("lost_share", round(share, 4), NOTICED),
        Fact("squeezed_per_s", round(rates.squeezed, 1), unit="per_s"),
    )
    cure = (LookAtHost(e.netns, where, rates.device, "nic-drops"),)
    level = Level.WARNING if share >= _HURTS else Level.NOTICE
    yield Hit(level, facts, cures=(cure,), costs_per_s=share * e.completions_per_s)


@rule(
    "dropped-by-rules",
    Level.NOTICE,
    title="rules drop packets before TCP sees them",
    note=True,
    rare=True,
    doc="IP received packets and delivered them to no protocol, 10 a second or more and at least one "
    "in twenty, for none of the reasons that the kernel counts: netfilter rules drop them, often "
    "rightly on a host that faces the Internet",
    unless="IP delivers, forwards, or counts as dropped for another reason all packets that it receives",
    advice="`nft list ruleset` shows which rule, if the rules have counters; if clients complain, "
    "check that the rule does not match them",
)
def dropped_by_rules(e: Evidence) -> Iterator[Hit]:
    rates = e.before_tcp_rates
    share = ruled_out(rates)
    if not share:
        return
    facts = (
        Fact("dropped_per_s", round(rates.ruled_out, 1), unit="per_s"),
        Fact("dropped_share", round(share, 4), RULED_OUT),
    )
    yield Hit(Level.NOTICE, facts, cures=((LookAtHost(e.netns, "firewall", "", "dropped-by-rules"),),))
