"""A fact in a few words: the evidence under a finding, and the reason why a cause is ruled out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import floor
from typing import Final

from halfopen.core.closing_filter import CLIENTS_OF
from halfopen.core.findings.finding import Fact
from halfopen.core.units import show_bytes
from halfopen.present.findings.words import lasted, round_trip
from halfopen.present.language import tr, tr_n

ByName = Mapping[str, Fact]
Phrase = Callable[[Fact, ByName], str]


def phrases(facts: Iterable[Fact], among: Iterable[Fact] = ()) -> str:
    """The facts as words, in their order; among: all facts of the finding, which some are told together with."""
    shown = list(facts)
    known = {fact.name: fact for fact in (*among, *shown)}
    return tr(", ").join(filter(None, (_phrase(fact, known) for fact in shown)))


def _phrase(fact: Fact, known: ByName) -> str:
    """One fact as words; one that has none of its own as its name, value and limit."""
    return PHRASES[fact.name](fact, known) if fact.name in PHRASES else _plain(fact)


def amount(fact: Fact) -> str:
    """The value of a fact with its unit."""
    value = fact.value
    if isinstance(value, str):
        return value
    if fact.unit == "s":
        return lasted(float(value))
    if fact.unit == "per_s":
        return tr("{rate}/s", rate=_short(float(value)))
    return _short(float(value))


def _a_second(fact: Fact) -> str:
    """The number of a rate, where a noun stands before the "/s"."""
    return _short(float(fact.value))


def _syns(fact: Fact) -> str:
    return tr("{n} SYNs/s", n=_a_second(fact))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _of(fact: Fact) -> str:
    """The value, and its limit where it has one: `129 of 129`."""
    if fact.limit is None:
        return amount(fact)
    return tr("{value} of {limit}", value=amount(fact), limit=_short(fact.limit))


def _plain(fact: Fact) -> str:
    name = fact.name.removesuffix("_per_s").removesuffix("_s")
    # The kernel's own names stay as they are.
    words = name if "tcp_" in name or name[:1].isupper() else name.replace("_", " ")
    return f"{words} {_of(fact)}"


def _retrying(fact: Fact, known: ByName) -> str:
    if "late" in known:
        return tr("{n} still wait after one", n=amount(fact))
    return tr("{n} wait after a retransmitted SYN-ACK", n=amount(fact))


def _setting(fact: Fact, _: ByName) -> str:
    return f"{fact.name} = {amount(fact)}"


def _told_elsewhere(_: Fact, __: ByName) -> str:
    return ""


def _unanswered(fact: Fact, known: ByName) -> str:
    rate = tr("{n} SYN-ACKs/s", n=_a_second(fact))
    if "unanswered_of" in known:
        return tr("{n} are never answered, in the whole namespace", n=rate)
    return tr("{n} are never answered", n=rate)


def _percent(fact: Fact) -> str:
    return f"{float(fact.value):.0%}"


def _limit(fact: Fact) -> str:
    return "" if fact.limit is None else tr(" (limit {share})", share=f"{fact.limit:.0%}")


def _at_least(fact: Fact, known: ByName) -> str:
    percent = floor(100 * float(fact.value))
    if percent <= 0:
        return ""
    # "At least 100 %" would be all of them, which nobody can tell.
    share = f"{min(99, percent)}%"
    if "came_per_s" in known:
        return tr("at least {share} of arrivals were never answered{limit}", share=share, limit=_limit(fact))
    return tr("at least {share} of arrivals are never answered{limit}", share=share, limit=_limit(fact))


def _lasting(fact: Fact, known: ByName) -> str:
    since = known.get("lasting_since_s")
    if not fact.value:
        return tr("none half-open for long")
    if since is None:
        return tr("{n} half-open for long", n=amount(fact))
    return tr("{n} half-open for more than {time}", n=amount(fact), time=amount(since))


def _cookies(fact: Fact, _: ByName) -> str:
    return tr("{n} SYN cookies/s are not sent back", n=_a_second(fact)) if fact.value else ""


def _came(fact: Fact, _: ByName) -> str:
    return tr("{n} SYNs that nobody followed up", n=amount(fact)) if fact.value else tr("no further SYN")


def _from_hosts(fact: Fact, known: ByName) -> str:
    n = int(known["hosts"].value)
    rate = _a_second(fact)
    return tr_n("one host begins {rate} handshakes/s", "{n:,} hosts begin {rate} handshakes/s", n, rate=rate)


def _stuck(fact: Fact, _: ByName) -> str:
    alone = fact.limit is None and fact.value == 1
    return tr_n("{held} socket stuck", "{held} sockets stuck", 1 if alone else 2, held=_of(fact))


def _process(fact: Fact, known: ByName) -> str:
    words = [str(fact.value), *(str(known[name].value) for name in ("pid",) if name in known)]
    return " ".join(words) + (f" ({known['inside'].value})" if "inside" in known else "")


def _processes(fact: Fact, known: ByName) -> str:
    alike = known.get("stuck_processes")
    if alike is None or fact.value == 1:
        return ""
    return tr("{n} of {all} processes in the same state", n=amount(alike), all=amount(fact))


def _repeated(fact: Fact, known: ByName) -> str:
    if "repeats_unknown" in known:
        return ""
    if not fact.value:
        return tr("none has retransmitted its SYN")
    return tr_n("{n:,} has retransmitted its SYN", "{n:,} have retransmitted their SYN", int(fact.value))


def _prefix(fact: Fact, known: ByName) -> str:
    share = known.get("share")
    if share is None:
        return tr("from {source}", source=amount(fact))
    return tr("{share} from {source}", share=_percent(share), source=amount(fact))


def _source(fact: Fact, known: ByName) -> str:
    share = known.get("source_share")
    if share is None:
        return tr("from {source}", source=amount(fact))
    return tr("{share} from {source}", share=_percent(share), source=amount(fact))


def _finished_lately(fact: Fact, _: ByName) -> str:
    return tr_n(
        "{n:,} address finished handshakes recently", "{n:,} addresses finished handshakes recently", int(fact.value)
    )


def _peer(fact: Fact, _: ByName) -> str:
    name = str(fact.value)
    if name.startswith(CLIENTS_OF):
        return tr("clients of {at}", at=name.removeprefix(CLIENTS_OF))
    return tr("with {peer}", peer=name)


def _sockets(fact: Fact, known: ByName) -> str:
    if "socket_state" in known:
        return tr_n("{n:,} connection", "{n:,} connections", int(fact.value))
    return tr_n("{n:,} socket", "{n:,} sockets", int(fact.value))


def _came_and_left(fact: Fact, known: ByName) -> str:
    left, between = known.get("left"), known.get("between_looks_s")
    if left is None or between is None:
        return tr("{n} came", n=amount(fact))
    return tr("{came} came and {left} left in {time}", came=amount(fact), left=amount(left), time=amount(between))


# Of open and closing connections.
_OF_CONNECTIONS: Final[Mapping[str, Phrase]] = {
    "peer": _peer,
    "peers": lambda f, _: tr("{n} peers", n=amount(f)) if float(f.value) > 1 else "",
    "answered": lambda f, _: tr("{n} whose clients answered", n=amount(f)),
    "incoming": _told_elsewhere,
    "socket_state": lambda f, _: tr("in the state {name}", name=f.value),
    "signature": _told_elsewhere,
    "ages_exact": _told_elsewhere,
    "youngest_s": lambda f, _: tr("the youngest {time}", time=amount(f)),
    "younger_than_10s": lambda f, _: tr("{n} of them younger than 10 s", n=amount(f)) if f.value else "",
    "growth_per_s": lambda f, _: tr("{n} more by their ages", n=amount(f)) if f.value else "",
    "unread_bytes": lambda f, _: tr("{size} not read", size=show_bytes(float(f.value))),
    "unacked_bytes": lambda f, _: tr("{size} not acknowledged", size=show_bytes(float(f.value))),
    "came": _came_and_left,
    "left": _told_elsewhere,
    "between_looks_s": _told_elsewhere,
    "local": lambda f, _: tr("from {source}", source=f.value),
    "ports": lambda f, known: tr("local ports {held}", held=_of(f)) if "local" in known else _plain(f),
    "waiting": lambda f, _: tr("{n} of them in TIME_WAIT", n=amount(f)),
    "tcp_tw_reuse": _setting,
    "tcp_max_tw_buckets": _setting,
}

PHRASES: Final[Mapping[str, Phrase]] = {
    **_OF_CONNECTIONS,
    "half_open": lambda f, _: tr("{n} half-open", n=amount(f)),
    "deferred": lambda f, _: tr("{n} wait for data", n=amount(f)),
    "deferred_at_most": lambda f, _: tr("at most {n} wait for data", n=amount(f)),
    "lasting": _lasting,
    "lasting_since_s": _told_elsewhere,
    "oldest_s": lambda f, _: tr("the oldest {time}", time=amount(f)),
    "repeated": _repeated,
    "answers_unseen": _told_elsewhere,
    # Of those that are half-open for long: that there are none of these is told already.
    "distinct_sources": lambda f, _: tr_n("{n:,} source", "{n:,} sources", int(f.value)) if f.value or f.limit else "",
    "prefix": _prefix,
    "share": _told_elsewhere,
    "back_by": lambda f, _: tr("the route back leaves by {device}", device=f.value),
    "came_by": lambda f, _: tr("SYNs come in by {device}", device=f.value),
    "no_way_back": lambda f, _: tr("no route back ({error})", error=f.value),
    "unanswered_per_s": _unanswered,
    "entering_per_s": lambda f, _: tr("{n} arrive now, too recently to judge", n=_syns(f)),
    "came_per_s": lambda f, _: tr("{n} came while it lasted", n=_syns(f)),
    "last_syn_s": lambda f, _: tr("the last SYN {time} ago", time=amount(f)),
    "given_up_s": lambda f, _: tr("the last one is given up within {time}", time=amount(f)),
    "came_between": _came,
    "unanswered_share": _at_least,
    "cookies_unanswered_per_s": _cookies,
    "completions_per_s": lambda f, _: tr("{n} handshakes/s finish", n=_a_second(f)),
    "completions_of": _told_elsewhere,
    "given_up_at_once": lambda f, _: tr("{n} given up when the second SYN-ACK was due", n=amount(f)),
    "no_route_per_s": lambda f, _: tr("{n} packets/s without a route out", n=_a_second(f)),
    "ruled_out_per_s": lambda f, _: tr("rules drop {n} packets/s", n=_a_second(f)),
    "unanswered_of": _told_elsewhere,
    "beside_per_s": lambda f, _: tr("{n} handshakes/s of the same sources finish", n=_a_second(f)),
    "sources_again": lambda f, _: tr("{n} sources sent several SYNs and no ACK", n=amount(f)),
    "scanners": lambda f, _: tr("{n} scanners", n=amount(f)),
    "drawn_sources": lambda f, _: tr("{n} sources that look drawn at random", n=amount(f)),
    "hosts": lambda f, known: "" if "from_hosts_per_s" in known else _plain(f),
    "from_hosts_per_s": _from_hosts,
    "like_clients": _told_elsewhere,
    "repeats_unknown": lambda f, _: tr("whether they retransmit their SYN is not known"),
    "finished_ever": lambda f, _: tr("no handshake has finished since the namespace was made"),
    "finish_others": lambda f, _: tr("{n} from sources that finish other handshakes, or did so recently", n=amount(f)),
    "silenced": lambda f, _: tr("{n} from sources that finished handshakes recently", n=amount(f)),
    "finished_by_them": lambda f, _: tr("{n} handshakes from these sources finished", n=amount(f)),
    "finished_lately": _finished_lately,
    "last_finished_s": lambda f, _: tr("the last one {time} ago", time=amount(f)),
    "finished": lambda f, _: tr("{n} finished", n=amount(f)),
    "late": lambda f, _: tr("{n} after a retransmitted SYN-ACK", n=amount(f)),
    "retrying": _retrying,
    "late_share": lambda f, _: tr("{share} finish late or do not finish{limit}", share=_percent(f), limit=_limit(f)),
    "rtt_s": lambda f, _: tr("round trip {time}", time=round_trip(float(f.value))),
    "source": _source,
    "source_share": _told_elsewhere,
    "near_clients": lambda f, _: tr("{share} from networks of clients that finish", share=_percent(f)),
    "resetting_sources": lambda f, _: tr_n("{n:,} source of RSTs", "{n:,} sources of RSTs", int(f.value)),
    "without_timestamps": lambda f, _: tr("{n} without TCP timestamps", n=amount(f)),
    "ports": lambda f, _: tr_n("{n:,} listener", "{n:,} listeners", int(f.value)),
    "syns_per_s": lambda f, _: tr("{n} SYNs/s", n=_a_second(f)),
    "resets_per_s": lambda f, _: tr("{n} RSTs/s", n=_a_second(f)),
    "syns_again_per_s": lambda f, _: tr("{n} retransmitted SYNs/s", n=_a_second(f)),
    "reset_per_s": lambda f, _: tr("{n} handshakes/s are reset", n=_a_second(f)),
    "EmbryonicRsts_per_s": lambda f, _: tr("{n} handshakes/s are reset", n=_a_second(f)),
    "backlog_needed": lambda f, _: tr("a backlog of {n} would have been enough", n=amount(f)),
    "arrivals_per_s": lambda f, _: tr("{n} arrive", n=_syns(f)),
    "under_way": lambda f, _: tr("{n} handshakes under way on average", n=amount(f)),
    "handshake_s": lambda f, _: tr("a handshake takes about {time}", time=amount(f)),
    "timeouts_per_s": lambda f, _: tr("{n} time out", n=amount(f)),
    "syn_queue": lambda f, _: tr("SYN queue {held}", held=_of(f)),
    "accept_queue": lambda f, _: tr("accept queue {held}", held=_of(f)),
    "tracked": lambda f, _: tr("connections tracked {held}", held=_of(f)),
    "conntrack_drops_per_s": lambda f, _: tr("{n} packets/s dropped by connection tracking", n=_a_second(f)),
    "lost_per_s": lambda f, _: tr("{n} packets/s lost before TCP", n=_a_second(f)),
    "lost_share": lambda f, _: tr("{share} of all packets", share=f"{float(f.value):.1%}"),
    "squeezed_per_s": lambda f, _: tr("{n} softirqs/s ran out of budget or time", n=_a_second(f)),
    "device": lambda f, _: tr("device {name}", name=f.value),
    "where": lambda f, _: tr("lost after the device") if f.value == "cpu" else tr("lost by the device"),
    "state": lambda f, _: tr("state {state}", state=f.value),
    "tracer": lambda f, _: tr("traced by process {pid}", pid=f.value),
    "frozen": lambda f, _: tr("frozen by {file}", file=f.value) if f.value else tr("frozen by its cgroup"),
    "cgroup": lambda f, _: tr("quota of {cgroup}", cgroup=f.value),
    "cpu_pressure": lambda f, _: tr("CPU pressure {share}", share=_percent(f)),
    "io_pressure": lambda f, _: tr("I/O pressure {share}", share=_percent(f)),
    "accepted_at_most": lambda f, _: tr("at most {n} accepted", n=amount(f)) if f.value else tr("none accepted"),
    "interval_s": _told_elsewhere,
    "named_before_s": lambda f, _: tr("seen {time} ago", time=amount(f)),
    "overflows_per_s": lambda f, _: tr("{n} overflows/s of accept queues", n=_a_second(f)),
    "sockets": _sockets,
    "stuck_sockets": _stuck,
    "why": _told_elsewhere,
    "process": _process,
    "pid": _told_elsewhere,
    "inside": _told_elsewhere,
    "processes": _processes,
    "stuck_processes": _told_elsewhere,
    "descriptors": lambda f, _: tr("open files {held}", held=_of(f)),
    "open_files": lambda f, _: tr("open files of the whole system {held}", held=_of(f)),
    "cpu_share": lambda f, _: tr("{share} of a CPU", share=_percent(f)),
    "waited_for_cpu_share": lambda f, _: tr("waited for a CPU {share} of the time", share=_percent(f)),
    "throttled_periods": lambda f, _: tr("throttled in {held} periods", held=_of(f)),
    "waits_in": lambda f, _: tr("waits in {function}", function=f.value),
    "drops": lambda f, _: tr("{n} dropped at this listener", n=amount(f)),
    "dropped_syns": lambda f, _: tr_n("{n:,} SYN dropped", "{n:,} SYNs dropped", int(f.value)),
    "dropped_syns_per_s": lambda f, _: tr("{n} SYNs/s dropped", n=_a_second(f)),
    "backlog": lambda f, _: tr("backlog {n}", n=amount(f)),
    "effective_release_time_s": lambda f, _: tr("{time} in a queue more than half full, as now", time=amount(f)),
    "release_time_s": lambda f, _: tr("release time {time}", time=amount(f)),
    "somaxconn": _setting,
    "tcp_syncookies": _setting,
    "tcp_synack_retries": _setting,
    "tcp_max_syn_backlog": _setting,
    "tcp_abort_on_overflow": _setting,
}
