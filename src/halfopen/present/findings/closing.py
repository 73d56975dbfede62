"""Sentences about connections that are open or closing."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.core.units import plural, show_bytes, show_duration
from halfopen.present.findings.words import held, lead, per_s, sentence


def _owner(f: Finding) -> str:
    """The process: `java 4711 (web.service)`."""
    if not f.has("process"):
        return "a process that was not found"
    inside = f" ({f.text('inside')})" if f.has("inside") else ""
    return f"{f.text('process')} {f.count('pid')}{inside}"


def _connections(f: Finding) -> str:
    n = plural(f.count("sockets"), "connection")
    return f"{n} from {f.text('peer')}" if f.count("incoming") else f"{n} to {f.text('peer')}"


def _oldest(f: Finding) -> str:
    least = "" if f.count("ages_exact") else "at least "
    return f"the oldest {least}{show_duration(f.number('oldest_s'))}"


def _growth(f: Finding) -> str:
    """What two looks told, or the ages of one."""
    if f.has("came"):
        time = show_duration(f.number("between_looks_s"))
        came, left = f.count("came"), f.count("left")
        return f"{came or 'none'} came and {left or 'none'} left in {time}"
    if not f.count("younger_than_10s"):
        return "none younger than 10 s"
    return f"{per_s(f, 'growth_per_s')} more, by their ages"


def _files(f: Finding) -> str:
    return f"the process has {held(f, 'descriptors')} descriptors" if f.has("descriptors") else ""


def _more(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


@lead("close-wait-leak")
def _close_wait_leak(f: Finding) -> tuple[str, str]:
    if f.has("end_read"):
        brief = f"{_owner(f)} leaks descriptors: it read the end of {_connections(f)} and never closed"
    else:
        brief = f"{_owner(f)} leaks connections: {_connections(f)} in CLOSE_WAIT, and none is closed"
    unread = f"{show_bytes(f.number('unread_bytes'))} unread" if f.has("unread_bytes") else "nothing unread"
    return brief, _more(_growth(f), _oldest(f), unread, _files(f))


@lead("close-wait-stuck")
def _close_wait_stuck(f: Finding) -> tuple[str, str]:
    brief = f"{_owner(f)} does not look at {_connections(f)} that hung up"
    return brief, _more(_growth(f), _oldest(f), "its event loop or threads are stuck, or busy for longer", _files(f))


@lead("close-wait-unaccepted")
def _close_wait_unaccepted(f: Finding) -> tuple[str, str]:
    brief = f"{_connections(f)} hung up before they were accepted"
    return brief, _more(_oldest(f), "the program that listens accepts too slowly")


@sentence("close-wait-idle-pool")
def _close_wait_idle_pool(f: Finding) -> str:
    return (
        f"{_owner(f)} keeps {_connections(f)} in CLOSE_WAIT ({_growth(f)}, {_oldest(f)}): an idle pool whose server "
        "hung up; harmless, the pool notices at the next use"
    )


@sentence("close-wait-undecided")
def _close_wait_undecided(f: Finding) -> str:
    return (
        f"{_owner(f)} keeps {_connections(f)} in CLOSE_WAIT ({_growth(f)}, {_oldest(f)}): one look cannot tell a pool "
        "whose server hung up from a leak"
    )


@lead("close-wait-memory")
def _close_wait_memory(f: Finding) -> tuple[str, str]:
    n = plural(f.count("sockets"), "connection")
    return f"{n} in CLOSE_WAIT with an end that nobody read hold {held(f, 'pages')} pages of TCP's memory", ""


@lead("idle-leak")
def _idle_leak(f: Finding) -> tuple[str, str]:
    brief = f"{_owner(f)} leaks connections: {_connections(f)} were each used once and kept"
    return brief, _more(_growth(f), _oldest(f), _files(f))


@sentence("pool-all-idle")
def _pool_all_idle(f: Finding) -> str:
    return (
        f"all {_connections(f)} of {_owner(f)} are idle, for {show_duration(f.number('youngest_s'))} to "
        f"{show_duration(f.number('oldest_s'))}: the pool is larger than needed, or its connections are never returned"
    )


@sentence("idle-unproven")
def _idle_unproven(f: Finding) -> str:
    n = f.count("without_keepalive")
    return (
        f"{_owner(f)}: {n:,} of {_connections(f)} are idle for up to {show_duration(f.number('oldest_s'))} without "
        "keepalive: cannot tell whether the peer is still there"
    )


@lead("peer-silent")
def _peer_silent(f: Finding) -> tuple[str, str]:
    brief = f"{_owner(f)} waits for peers that do not answer: {_connections(f)}"
    times = plural(f.count("retransmits"), "time")
    return brief, _more(
        f"retransmitted up to {times}", f"the last answer is up to {show_duration(f.number('oldest_s'))} old"
    )


@lead("slow-reader")
def _slow_reader(f: Finding) -> tuple[str, str]:
    brief = f"{_owner(f)} does not read {_connections(f)}: {show_bytes(f.number('unread_bytes'))} wait"
    return brief, _more(
        f"nothing came for {show_duration(f.number('youngest_s'))} or longer", "the thread that reads is stuck or slow"
    )


@lead("slow-peer")
def _slow_peer(f: Finding) -> tuple[str, str]:
    waits = show_bytes(f.number("unacked_bytes")) if f.has("unacked_bytes") else "data"
    brief = f"the peer of {_owner(f)} does not read: {waits} wait on {_connections(f)}"
    return brief, "it answers the probes of its closed window, so it is alive"


@lead("fin-wait-held")
def _fin_wait2_held(f: Finding) -> tuple[str, str]:
    brief = f"{_owner(f)} keeps {_connections(f)} in FIN_WAIT2, which no timeout ends while a process holds them"
    return brief, _more(_oldest(f), "the peer has not closed its end")


@sentence("fin-wait-orphan")
def _fin_wait2_orphan(f: Finding) -> str:
    after = f" after {show_duration(f.number('tcp_fin_timeout'))}" if f.has("tcp_fin_timeout") else ""
    return f"{plural(f.count('sockets'), 'connection')} in FIN_WAIT2 that nobody holds; the kernel ends them{after}"


@lead("orphans-retrying")
def _orphans_retrying(f: Finding) -> tuple[str, str]:
    limit = f.fact("sockets").limit
    of = "" if limit is None else f" (of at most {limit:,.0f})"
    brief = f"{plural(f.count('sockets'), 'closed connection')}{of} wait for peers that do not answer"
    return brief, _more(_tries(f), f"the oldest {show_duration(f.number('oldest_s'))}")


def _tries(f: Finding) -> str:
    return f"retransmitted up to {plural(f.count('retransmits'), 'time')}"


@lead("ports-near-end")
def _ports_near_end(f: Finding) -> tuple[str, str]:
    fact = f.fact("ports")
    share = f.number("ports") / (fact.limit or 1)
    brief = f"{held(f, 'ports')} local ports ({share:.0%}) towards {f.text('peer')} are taken"
    waiting = f"{f.count('waiting'):,} of them in TIME_WAIT"
    slow = "each connect() there takes about 14 times the CPU time" if share < 1 else "connect() there fails"
    reuse = (
        "tcp_tw_reuse = 2 reuses ports on loopback only"
        if f.has("tcp_tw_reuse") and f.count("tcp_tw_reuse") == 2
        else ""
    )
    return brief, _more(waiting, slow, reuse)


@lead("tw-overflow")
def _tw_overflow(f: Finding) -> tuple[str, str]:
    n = plural(f.count("TCPTimeWaitOverflow"), "connection")
    limit = f" (tcp_max_tw_buckets = {f.count('tcp_max_tw_buckets'):,})" if f.has("tcp_max_tw_buckets") else ""
    return f"{n} closed without TIME_WAIT, as there was no room for it{limit}", ""


# --- memory -----------------------------------------------------------------------------------------------------------


@lead("memory-pressure")
def _memory_pressure(f: Finding) -> tuple[str, str]:
    how = "is under memory pressure" if f.count("pressed") else "is near memory pressure"
    return f"TCP {how}: it holds {held(f, 'pages')} pages", "windows shrink; above the last limit connections are reset"


@lead("orphans-near-limit")
def _orphans_near_limit(f: Finding) -> tuple[str, str]:
    return f"{held(f, 'orphans')} connections that no process holds", "above the limit they are reset"


@lead("receiver-pruned")
def _receiver_pruned(f: Finding) -> tuple[str, str]:
    counted = ", ".join(f"{fact.name} {fact.value:,}" for fact in f.facts)
    return f"received data was thrown away for want of memory ({counted}, since the namespace was made)", ""
