"""Sentences about floods, scans and paths, and about handshakes that finish."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.core.units import plural, show_duration
from halfopen.present.findings.words import at, listener_name, per_s, sentence


def unanswered(f: Finding) -> str:
    """The rates that decide: handshakes that nobody answers beside handshakes that finish."""
    more = f" and {per_s(f, 'dropped_syns_per_s')} more are dropped" if f.has("dropped_syns_per_s") else ""
    text = f"{per_s(f, 'unanswered_per_s')} are never answered{more} while {per_s(f, 'completions_per_s')} finish"
    if f.listener is not None and f.number("completions_per_s"):
        text += " there" if f.text("completions_of") == "listener" else " in the whole namespace"
    if f.has("finished_by_them") and f.number("completions_per_s"):
        text += ", none of theirs"
    if f.number("cookies_unanswered_per_s"):
        text += f" ({per_s(f, 'cookies_unanswered_per_s')} of them by SYN cookie)"
    return text


def _nobody_asks_again(f: Finding) -> str:
    repeated = f.count("repeated")
    return f"{repeated:,} of them ask again" if repeated else "none of them asks again"


def _last(f: Finding) -> str:
    at = f" on {listener_name(f.listener)}" if f.listener is not None else ""
    return f"{f.count('lasting'):,} half-open{at} for more than {f.number('lasting_since_s'):g} s"


@sentence("spoofed-flood")
def _spoofed_flood(f: Finding) -> str:
    return (
        f"SYN flood from forged addresses: {unanswered(f)}; {_last(f)}, from {f.count('distinct_sources'):,} "
        f"addresses, and {_nobody_asks_again(f)}{_room(f)}"
    )


def _room(f: Finding) -> str:
    """How soon a release would be undone."""
    if not f.has("syn_queue"):
        return ""
    # A place that becomes free is taken by the next SYN, one that is dropped now as well.
    dropped = f.number("dropped_syns_per_s") if f.has("dropped_syns_per_s") else 0.0
    rate, limit = f.number("unanswered_per_s") + dropped, f.fact("syn_queue").limit or 0
    if rate < 1 or limit / rate > 60:
        return ""
    return f". A release would be filled up again within {show_duration(max(0.1, round(limit / rate, 1)))}"


@sentence("few-sources-flood")
def _few_sources_flood(f: Finding) -> str:
    n = f.count("distinct_sources")
    if n == 1:
        return f"{f.text('prefix')} floods or is broken: {unanswered(f)}; {_last(f)}, and {_nobody_asks_again(f)}"
    return (
        f"{n} addresses flood or are broken: {unanswered(f)}; {_last(f)}, {f.number('share'):.0%} from "
        f"{f.text('prefix')}, and {_nobody_asks_again(f)}"
    )


@sentence("prefix-flood")
def _prefix_flood(f: Finding) -> str:
    hosts = plural(f.count("distinct_sources"), "address", "addresses")
    return (
        f"{hosts} of one network, {f.text('prefix')}, flood or are broken: {unanswered(f)}; {_last(f)}, and "
        f"{_nobody_asks_again(f)}"
    )


def _up_to(f: Finding) -> str:
    return f", for up to {show_duration(f.number('oldest_s'))}" if f.has("oldest_s") else ""


@sentence("synacks-lost")
def _synacks_lost(f: Finding) -> str:
    whom = f"clients of {at(f)}" + (f" in {f.text('prefix')}" if f.has("prefix") else "")
    text = (
        f"SYN-ACKs do not reach {whom}: {f.count('repeated'):,} of {f.count('lasting'):,} handshakes that last send "
        f"their SYN again{_up_to(f)}; a firewall or route drops the way back"
    )
    if f.has("completions_per_s") and f.number("completions_per_s"):
        text += f"; others finish at {per_s(f, 'completions_per_s')}"
    return text


@sentence("acks-lost")
def _acks_lost(f: Finding) -> str:
    whose = f"clients in {f.text('prefix')}" if f.has("prefix") else "clients"
    before = plural(f.count("finished_lately"), "address", "addresses")
    return (
        f"the last ACKs of {whose} do not arrive: {f.count('lasting'):,} handshakes last{_up_to(f)}, and none of these "
        f"clients sends its SYN again, so they hear the SYN-ACK; {before} of theirs finished handshakes before, the "
        f"last one {show_duration(f.number('last_finished_s'))} ago"
    )


@sentence("slow-path")
def _slow_path(f: Finding) -> str:
    if not f.has("late_share"):
        return f"slow or lossy paths: {unanswered(f)}; {_last(f)}"
    where = f" to {f.text('prefix')}" if f.has("prefix") else "s"
    if f.has("rtt_s"):
        where += f" (round trip {show_duration(f.number('rtt_s'))})"
    text = f"slow or lossy path{where}: {f.count('finished'):,} handshakes finished in {f.number('interval_s'):g} s"
    if f.count("late"):
        text += f", {f.count('late'):,} of them after a SYN-ACK was sent again"
    return f"{text}; {f.count('retrying'):,} more wait after one was"


@sentence("scan")
def _scan(f: Finding) -> str:
    return (
        f"{f.text('source')} tries {f.count('ports')} listeners one after another: {per_s(f, 'syns_per_s')} SYNs, and "
        f"it resets what answers ({per_s(f, 'resets_per_s')}); {f.count('finished')} handshakes finished"
    )


@sentence("handshakes-finish")
def _handshakes_finish(f: Finding) -> str:
    return (
        f"{f.count('half_open'):,} handshakes are under way and finish: {per_s(f, 'completions_per_s')}, each after "
        f"about {show_duration(f.number('handshake_s'))}"
    )
