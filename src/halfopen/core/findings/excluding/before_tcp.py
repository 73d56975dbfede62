"""Losses before TCP, and handshakes that clients reset: excluded by counters that stand still."""

from __future__ import annotations

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.lost import LEAST_LOST_PER_S
from halfopen.core.findings.rules.before_tcp import LEAST_PER_S, NEARLY_FULL


@excluded("conntrack-full")
def room_to_track(e: Evidence) -> Against:
    table = e.before_tcp.conntrack
    if table is None or not table.count:
        return (Fact("tracked", 0),) if e.before_tcp.cpus else ()
    if not table.limit or table.count >= NEARLY_FULL * table.limit:
        return ()
    return (Fact("tracked", table.count, table.limit),)


@excluded("reverse-path-filter")
def no_path_filtered(e: Evidence) -> Against:
    if e.now.sample.counters.get("IPReversePathFilter") == 0:
        return (Fact("IPReversePathFilter", 0),)
    dropped = e.rates.get("IPReversePathFilter")
    if dropped is None or dropped >= LEAST_PER_S:
        return ()
    return (Fact("IPReversePathFilter_per_s", round(dropped, 1), LEAST_PER_S, "per_s"),)


@excluded("nic-drops")
def no_packet_lost(e: Evidence) -> Against:
    rates = e.before_tcp_rates
    lost = max(rates.missed, min(rates.dropped, rates.softnet_dropped))
    if e.before_tcp.earlier is None or not e.before_tcp.devices or lost >= LEAST_LOST_PER_S:
        return ()
    return (Fact("lost_per_s", round(lost, 1), LEAST_LOST_PER_S, "per_s"),)


@excluded("health-checks")
def nobody_resets(e: Evidence) -> Against:
    reset = e.rates.get("EmbryonicRsts")
    return (Fact("EmbryonicRsts_per_s", 0, unit="per_s"),) if reset == 0 else ()
