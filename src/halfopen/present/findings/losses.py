"""Sentences about packets that are lost before TCP, and about handshakes that clients reset."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.words import held, lead, per_s, sentence


@lead("conntrack-full")
def _conntrack_full(f: Finding) -> tuple[str, str]:
    brief = f"the table of tracked connections is full ({held(f, 'tracked')})"
    dropping = f.has("conntrack_drops_per_s") and f.number("conntrack_drops_per_s")
    if not dropping:
        brief = f"the table of tracked connections is nearly full ({held(f, 'tracked')})"
        return brief, "when it is full, netfilter drops what is new before TCP sees it"
    drops = per_s(f, "conntrack_drops_per_s")
    return f"{brief}: netfilter drops {drops} packets", "new connections among them never reach TCP"


@lead("reverse-path-filter")
def _reverse_path_filter(f: Finding) -> tuple[str, str]:
    return (
        f"the reverse path filter drops {per_s(f, 'IPReversePathFilter_per_s')} packets before TCP sees them",
        f"{per_s(f, 'completions_per_s')} handshakes finish meanwhile. The route back to the sources of these packets "
        "leaves by another device; the kernel log names the sources once log_martians is on",
    )


@lead("nic-drops")
def _nic_drops(f: Finding) -> tuple[str, str]:
    lost, share = per_s(f, "lost_per_s"), f.number("lost_share")
    if f.text("where") == "device":
        brief = f"the queue of {f.text('device')} is full at times: it drops {lost} packets ({share:.1%})"
        return brief, "before the kernel sees them; SYNs and ACKs may be among them"
    brief = f"the packet queue of a CPU is full at times: it drops {lost} packets of {f.text('device')} ({share:.1%})"
    return brief, f"before TCP sees them; softirqs leave packets for later {per_s(f, 'squeezed_per_s')}"


@sentence("health-checks")
def _health_checks(f: Finding) -> str:
    return (
        f"clients reset {per_s(f, 'EmbryonicRsts_per_s')} handshakes before they end, while "
        f"{per_s(f, 'completions_per_s')} finish: health checks of a load balancer do that, and leave nothing half-open"
    )
