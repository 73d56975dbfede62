"""Sentences about packets that are lost before TCP, and about handshakes that clients reset."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.words import a_second, held, lead, per_s, sentence
from halfopen.present.language import listed, tr


@lead("conntrack-full")
def _conntrack_full(f: Finding) -> tuple[str, str]:
    tracked = held(f, "tracked")
    if not (f.has("conntrack_drops_per_s") and f.number("conntrack_drops_per_s")):
        brief = tr("the table of tracked connections is nearly full ({tracked})", tracked=tracked)
        return brief, tr("once it is full, netfilter drops new connections before TCP sees them")
    brief = tr(
        "the table of tracked connections is full ({tracked}): netfilter drops {rate} packets/s",
        tracked=tracked,
        rate=a_second(f, "conntrack_drops_per_s"),
    )
    return brief, tr("new connections among them never reach TCP")


@lead("reverse-path-filter")
def _reverse_path_filter(f: Finding) -> tuple[str, str]:
    rate, finished = a_second(f, "IPReversePathFilter_per_s"), a_second(f, "completions_per_s")
    return (
        tr("the reverse path filter drops {rate} packets/s before TCP sees them", rate=rate),
        tr(
            "{rate} handshakes/s finish meanwhile. The route back to the sources of these packets leaves by another "
            "device; the kernel log names the sources once log_martians is on",
            rate=finished,
        ),
    )


@lead("nic-drops")
def _nic_drops(f: Finding) -> tuple[str, str]:
    values = {"rate": per_s(f, "lost_per_s"), "share": f"{f.number('lost_share'):.1%}", "device": f.text("device")}
    if f.text("where") == "device":
        brief = tr("the queue of {device} is full at times, and packets are dropped ({rate}, {share} of all)", **values)
        return brief, tr("the kernel never sees them; SYNs and ACKs may be among them")
    brief = tr(
        "the packet queue of a CPU is full at times, and packets of {device} are dropped ({rate}, {share} of all)",
        **values,
    )
    parts = [tr("TCP never sees them")]
    if f.number("squeezed_per_s"):
        parts.append(tr("softirqs run out of budget or time ({rate})", rate=per_s(f, "squeezed_per_s")))
    return brief, listed(parts)


@sentence("dropped-by-rules")
def _dropped_by_rules(f: Finding) -> str:
    return tr(
        "rules drop packets between IP and TCP ({rate}, {share} of what arrives): SYNs among them reach no listener",
        rate=per_s(f, "dropped_per_s"),
        share=f"{f.number('dropped_share'):.0%}",
    )


@sentence("health-checks")
def _health_checks(f: Finding) -> str:
    rates = {"rate": per_s(f, "EmbryonicRsts_per_s"), "finished": per_s(f, "completions_per_s")}
    if f.has("resetting_sources"):
        return tr(
            "clients reset handshakes before they complete ({rate}, while {finished} finish), from "
            "{n:,} sources: clients that begin two connections and keep the faster one do that, and "
            "leave nothing half-open",
            n=f.count("resetting_sources"),
            **rates,
        )
    text = tr(
        "clients reset handshakes before they complete ({rate}, while {finished} finish): health "
        "checks of a load balancer do that, and leave nothing half-open",
        **rates,
    )
    if not f.has("source"):
        return tr(
            "clients reset handshakes before they complete ({rate}, while {finished} finish): health "
            "checks of a load balancer do that, and so do clients that begin two connections and "
            "keep the faster one; nothing stays half-open",
            **rates,
        )
    values = {"share": f"{f.number('source_share'):.0%}", "source": f.text("source")}
    return listed([text, tr("{share} of these RSTs come from {source}", **values)])
