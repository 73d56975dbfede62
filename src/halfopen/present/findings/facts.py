"""A fact in a few words: the evidence under a finding, and the reason why a cause is ruled out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import floor
from typing import Final

from halfopen.core.findings.finding import Fact
from halfopen.core.units import plural, show_duration

ByName = Mapping[str, Fact]
Phrase = Callable[[Fact, ByName], str]


def phrases(facts: Iterable[Fact], among: Iterable[Fact] = ()) -> str:
    """The facts as words, in their order; among: all facts of the finding, which some are told together with."""
    shown = list(facts)
    known = {fact.name: fact for fact in (*among, *shown)}
    return ", ".join(filter(None, (_phrase(fact, known) for fact in shown)))


def _phrase(fact: Fact, known: ByName) -> str:
    """One fact as words; one that has none of its own as its name, value and limit."""
    return PHRASES[fact.name](fact, known) if fact.name in PHRASES else _plain(fact)


def amount(fact: Fact) -> str:
    """The value of a fact with its unit."""
    value = fact.value
    if isinstance(value, str):
        return value
    if fact.unit == "s":
        return show_duration(float(value))
    if fact.unit == "per_s":
        return f"{_short(float(value))}/s"
    return _short(float(value))


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _plain(fact: Fact) -> str:
    name = fact.name.removesuffix("_per_s").removesuffix("_s")
    # The kernel's own names stay as they are.
    words = name if "tcp_" in name or name[:1].isupper() else name.replace("_", " ")
    limit = "" if fact.limit is None else f" of {_short(fact.limit)}"
    return f"{words} {amount(fact)}{limit}"


def _setting(fact: Fact, _: ByName) -> str:
    return f"{fact.name} = {amount(fact)}"


def _counted(words: str) -> Phrase:
    return lambda fact, _: f"{amount(fact)} {words}"


def _queue(words: str) -> Phrase:
    return lambda fact, _: f"{words} {amount(fact)}" + ("" if fact.limit is None else f" of {_short(fact.limit)}")


def _at_least(fact: Fact, _: ByName) -> str:
    limit = "" if fact.limit is None else f" (limit {fact.limit:.0%})"
    return f"at least {floor(100 * float(fact.value))}% of arrivals are never answered{limit}"


def _late_share(fact: Fact, _: ByName) -> str:
    limit = "" if fact.limit is None else f" (limit {fact.limit:.0%})"
    return f"{float(fact.value):.0%} late{limit}"


def _lasting(fact: Fact, known: ByName) -> str:
    since = known.get("lasting_since_s")
    count = amount(fact) if fact.value else "none"
    return f"{count} half-open for " + ("long" if since is None else f"more than {amount(since)}")


def _told_elsewhere(_: Fact, __: ByName) -> str:
    return ""


def _cookies(fact: Fact, _: ByName) -> str:
    return f"{amount(fact)} SYN cookies are not sent back" if fact.value else ""


def _stuck(fact: Fact, _: ByName) -> str:
    of = "" if fact.limit is None else f" of {_short(fact.limit)}"
    return f"{amount(fact)}{of} sockets stuck" if of or fact.value != 1 else "1 socket stuck"


def _process(fact: Fact, known: ByName) -> str:
    words = [str(fact.value), *(str(known[name].value) for name in ("pid",) if name in known)]
    return " ".join(words) + (f" ({known['inside'].value})" if "inside" in known else "")


def _processes(fact: Fact, known: ByName) -> str:
    alike = known.get("stuck_processes")
    return "" if alike is None or fact.value == 1 else f"{amount(alike)} of {amount(fact)} processes alike"


def _repeated(fact: Fact, _: ByName) -> str:
    if not fact.value:
        return "none asks again"
    return f"{amount(fact)} asks again" if fact.value == 1 else f"{amount(fact)} ask again"


def _of(fact: Fact) -> str:
    return "" if fact.limit is None else f" of {_short(fact.limit)}"


def _prefix(fact: Fact, known: ByName) -> str:
    share = known.get("share")
    return f"from {amount(fact)}" if share is None else f"{float(share.value):.0%} from {amount(fact)}"


def _sources(fact: Fact, _: ByName) -> str:
    return plural(int(fact.value), "address", "addresses")


PHRASES: Final[Mapping[str, Phrase]] = {
    "half_open": _counted("half-open"),
    "lasting": _lasting,
    "lasting_since_s": _told_elsewhere,
    "oldest_s": lambda fact, _: f"the oldest {amount(fact)}",
    "repeated": _repeated,
    "distinct_sources": _sources,
    "prefix": _prefix,
    "share": _told_elsewhere,
    "unanswered_per_s": _counted("are never answered"),
    "unanswered_share": _at_least,
    "cookies_unanswered_per_s": _cookies,
    "completions_per_s": _counted("finish"),
    "completions_of": _told_elsewhere,
    "finish_others": _counted("of sources that finish others, or did lately"),
    "silenced": _counted("of sources that finished lately"),
    "finished_by_them": _counted("handshakes of these sources finished"),
    "finished_lately": lambda fact, _: f"{plural(int(fact.value), 'address', 'addresses')} finished handshakes lately",
    "last_finished_s": lambda fact, _: f"the last one {amount(fact)} ago",
    "finished": _counted("finished"),
    "late": _counted("after a SYN-ACK was sent again"),
    "retrying": _counted("wait after one was"),
    "late_share": _late_share,
    "rtt_s": lambda fact, _: f"round trip {amount(fact)}",
    "source": lambda fact, _: f"from {amount(fact)}",
    "ports": lambda fact, _: plural(int(fact.value), "listener"),
    "syns_per_s": _counted("SYNs"),
    "resets_per_s": _counted("RSTs"),
    "syns_again_per_s": _counted("SYNs sent again"),
    "EmbryonicRsts_per_s": _counted("handshakes reset"),
    "handshake_s": lambda fact, _: f"a handshake takes about {amount(fact)}",
    "timeouts_per_s": _counted("time out"),
    "syn_queue": _queue("SYN queue"),
    "accept_queue": _queue("accept queue"),
    "tracked": lambda fact, _: f"{amount(fact)} connections tracked" + _of(fact),
    "conntrack_drops_per_s": _counted("packets dropped by connection tracking"),
    "lost_per_s": _counted("packets lost before TCP"),
    "lost_share": lambda fact, _: f"{float(fact.value):.1%} of all packets",
    "squeezed_per_s": _counted("softirqs left packets for later"),
    "state": lambda fact, _: f"state {fact.value}",
    "cgroup": lambda fact, _: f"quota of {fact.value}",
    "cpu_pressure": lambda fact, _: f"CPU pressure {float(fact.value):.0%}",
    "io_pressure": lambda fact, _: f"I/O pressure {float(fact.value):.0%}",
    "accepted_at_most": lambda fact, _: f"at most {amount(fact)} accepted",
    "interval_s": _told_elsewhere,
    "overflows_per_s": _counted("overflows of accept queues"),
    "sockets": lambda fact, _: plural(int(fact.value), "socket"),
    "stuck_sockets": _stuck,
    "why": _told_elsewhere,
    "process": _process,
    "pid": _told_elsewhere,
    "inside": _told_elsewhere,
    "processes": _processes,
    "stuck_processes": _told_elsewhere,
    "descriptors": _queue("open files"),
    "cpu_share": lambda fact, _: f"{float(fact.value):.0%} of a CPU",
    "waited_for_cpu_share": lambda fact, _: f"waited for a CPU {float(fact.value):.0%} of the time",
    "throttled_periods": _queue("throttled in periods"),
    "waits_in": lambda fact, _: f"waits in {fact.value}",
    "drops": _counted("dropped at this listener"),
    "dropped_syns": lambda fact, _: f"{plural(int(fact.value), 'SYN')} dropped",
    "dropped_syns_per_s": _counted("SYNs dropped"),
    "backlog": lambda fact, _: f"backlog {amount(fact)}",
    "effective_release_time_s": lambda fact, _: f"{amount(fact)} in a queue more than half full, as now",
    "release_time_s": lambda fact, _: f"release time {amount(fact)}",
    "somaxconn": _setting,
    "tcp_syncookies": _setting,
    "tcp_synack_retries": _setting,
    "tcp_max_syn_backlog": _setting,
    "tcp_abort_on_overflow": _setting,
}
