"""Sentences about connections that are open or closing."""

from __future__ import annotations

from halfopen.core.closing_filter import CLIENTS_OF
from halfopen.core.findings.finding import Finding
from halfopen.core.model.closing import CLUMP_S
from halfopen.core.units import show_bytes
from halfopen.present.findings.accepting import stopped
from halfopen.present.findings.words import held, lasted, lead, per_s, sentence
from halfopen.present.language import listed, tr, tr_n


def _owner(f: Finding) -> str:
    """The process: `java 4711 (web.service)`."""
    if not f.has("process"):
        return tr("a process that was not found")
    inside = f" ({f.text('inside')})" if f.has("inside") else ""
    return f"{f.text('process')} {f.count('pid')}{inside}"


def _n(f: Finding) -> str:
    return tr_n("{n:,} connection", "{n:,} connections", f.count("sockets"))


def _connections(f: Finding) -> str:
    if f.count("incoming"):
        return tr("{connections} from {peer}", connections=_n(f), peer=_told_peer(f.text("peer")))
    if (peers := f.count("peers")) > 1:
        return tr_n("{connections} to {n:,} peer", "{connections} to {n:,} peers", peers, connections=_n(f))
    return tr("{connections} to {peer}", connections=_n(f), peer=f.text("peer"))


def _told_peer(peer: str) -> str:
    """A peer of a group in the language of the reader."""
    if not peer.startswith(CLIENTS_OF):
        return peer
    return tr("clients of {at}", at=peer.removeprefix(CLIENTS_OF))


def _oldest(f: Finding) -> str:
    time = lasted(f.number("oldest_s"))
    return tr("the oldest {time}", time=time) if f.count("ages_exact") else tr("the oldest at least {time}", time=time)


def _growth(f: Finding) -> str:
    """The growth between two looks or, with one look, as the ages tell it."""
    if f.has("came"):
        came, left, time = f.count("came"), f.count("left"), lasted(f.number("between_looks_s"))
        if came and left:
            return tr("{came:,} came and {left:,} left in {time}", came=came, left=left, time=time)
        if came:
            return tr("{came:,} came and none left in {time}", came=came, time=time)
        if left:
            return tr("none came and {left:,} left in {time}", left=left, time=time)
        return tr("none came and none left in {time}", time=time)
    if not f.count("younger_than_10s"):
        return tr("none younger than 10 s")
    if f.count("sockets") > 1 and f.number("oldest_s") - f.number("youngest_s") <= CLUMP_S:
        return tr("all of one age")
    return tr("{rate} more, by their ages", rate=per_s(f, "growth_per_s"))


def _files(f: Finding) -> str:
    return tr("the process has {held} descriptors", held=held(f, "descriptors")) if f.has("descriptors") else ""


@lead("close-wait-leak")
def _close_wait_leak(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "connections": _connections(f)}
    if f.has("may_send"):
        brief = tr(
            "{owner} read the end of {connections} and keeps them: it leaks descriptors, or still sends to them now "
            "and then",
            **values,
        )
    elif f.has("end_read"):
        brief = tr("{owner} leaks descriptors: it read the end of {connections} and never closed them", **values)
    else:
        brief = tr("{owner} leaks connections: {connections} in CLOSE_WAIT, and none is closed", **values)
    unread = tr("nothing unread")
    if f.has("unread_bytes"):
        unread = tr("{size} unread", size=show_bytes(f.number("unread_bytes")))
    return brief, listed([_growth(f), _oldest(f), unread, _files(f)])


@lead("holder-stopped")
def _holder_stopped(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "stopped": stopped(f), "connections": _connections(f)}
    brief = tr("{owner} {stopped}: {connections} wait for it", **values)
    return brief, listed([_oldest(f), tr("let it go on, if that is not intended")])


@lead("close-wait-stuck")
def _close_wait_stuck(f: Finding) -> tuple[str, str]:
    brief = tr("{owner} ignores clients that hung up: {connections}", owner=_owner(f), connections=_connections(f))
    why = tr("its event loop or threads are stuck or too busy")
    return brief, listed([_growth(f), _oldest(f), _awaits(f) or _handed(f) or why, _files(f)])


@lead("close-wait-unanswered")
def _close_wait_unanswered(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "connections": _connections(f)}
    brief = tr("{owner} has not answered clients that closed their end: {connections}", **values)
    why = tr("it still works on the requests, or forgot the connections")
    waits = tr("a client that closed only its half still waits for the answer")
    return brief, listed([_growth(f), _oldest(f), _awaits(f) or _handed(f) or why, waits, _files(f)])


def _awaits(f: Finding) -> str:
    """From whom the process itself waits for answers; empty where it does not."""
    if not f.has("awaiting"):
        return ""
    return tr_n(
        "perhaps as it waits itself: {n:,} connection of its own, as to {peer}, has had no answer for 10 s or more",
        "perhaps as it waits itself: {n:,} connections of its own, as to {peer}, have had no answer for 10 s or more",
        f.count("awaiting"),
        peer=f.text("awaited"),
    )


def _handed(f: Finding) -> str:
    """How a process came by connections that it did not accept, or why none has them; empty where it may have accepted
    them.
    """
    if f.has("holders"):
        return tr(
            "no process that is seen here has them open: they are of one in another container, registered with "
            "io_uring alone, or on the way from process to process over a local socket"
        )
    if not f.has("listens"):
        return ""
    return tr(
        "it does not listen there itself: it was handed the connections and is stuck or too busy, or it inherited them "
        "and does not know of them, as a child started with open descriptors"
    )


@lead("not-accepted")
def _not_accepted(f: Finding) -> tuple[str, str]:
    brief = tr("{connections} wait to be accepted", connections=_connections(f))
    return brief, listed([_oldest(f), tr("the program that listens does not accept, or too slowly")])


@lead("close-wait-unaccepted")
def _close_wait_unaccepted(f: Finding) -> tuple[str, str]:
    brief = tr("{connections} hung up before they were accepted", connections=_connections(f))
    return brief, listed([_oldest(f), tr("the program that listens does not accept, or too slowly")])


def _kept(f: Finding) -> dict[str, str]:
    """Who keeps how many, how fast they grow and how old the oldest is, for a sentence."""
    return {"owner": _owner(f), "connections": _connections(f), "growth": _growth(f), "oldest": _oldest(f)}


@sentence("close-wait-idle-pool")
def _close_wait_idle_pool(f: Finding) -> str:
    return tr(
        "{owner} keeps {connections} in CLOSE_WAIT ({growth}, {oldest}): an idle pool whose server hung up; harmless, "
        "the pool notices at the next use",
        **_kept(f),
    )


@sentence("close-wait-undecided")
def _close_wait_undecided(f: Finding) -> str:
    if f.has("unknown_processes"):
        return tr(
            "{owner} keeps {connections} in CLOSE_WAIT ({growth}, {oldest}): a leak if they are of one process; pools "
            "of many look the same",
            **_kept(f),
        )
    if f.has("came"):
        return tr(
            "{owner} keeps {connections} in CLOSE_WAIT ({growth}, {oldest}): too few to tell a small pool whose server "
            "hung up from a leak",
            **_kept(f),
        )
    return tr(
        "{owner} keeps {connections} in CLOSE_WAIT ({growth}, {oldest}): one look cannot tell a pool whose server hung "
        "up from a leak",
        **_kept(f),
    )


@lead("close-wait-memory")
def _close_wait_memory(f: Finding) -> tuple[str, str]:
    text = tr(
        "{connections} in CLOSE_WAIT whose FIN nobody read hold {held} pages of TCP's memory",
        connections=_n(f),
        held=held(f, "pages"),
    )
    return text, ""


@lead("idle-leak")
def _idle_leak(f: Finding) -> tuple[str, str]:
    brief = tr(
        "{owner} leaks connections: {connections} were each used once and kept",
        owner=_owner(f),
        connections=_connections(f),
    )
    unless = tr("unless each waits for messages of the peer")
    return brief, listed([_growth(f), _oldest(f), _files(f), unless])


@sentence("pool-all-idle")
def _pool_all_idle(f: Finding) -> str:
    least, most = lasted(f.number("youngest_s")), lasted(f.number("oldest_s"))
    values = {
        "connections": _connections(f),
        "owner": _owner(f),
        "time": most if least == most else tr("{least} to {most}", least=least, most=most),
    }
    if f.has("clients"):
        return tr(
            "all {connections} of {owner} are idle, for {time}: they belong to its own {n:,} clients, as in a proxy, "
            "or to a pool that is too large or gets none back",
            n=f.count("clients"),
            **values,
        )
    return tr(
        "all {connections} of {owner} are idle, for {time}: the pool is larger than needed, or its connections are "
        "never returned",
        **values,
    )


@lead("answers-pile-up")
def _answers_pile_up(f: Finding) -> tuple[str, str]:
    why = tr("the program at the other end is slow or stuck, unless its answers are to be late, or none is due")
    return _nothing_back(f), listed([_growth(f), _oldest(f), why])


@sentence("answers-awaited")
def _answers_awaited(f: Finding) -> str:
    why = tr("its peer is slow or stuck, answers late (a long poll), or has nothing to answer (logs)")
    return listed([_nothing_back(f), _oldest(f), why])


def _nothing_back(f: Finding) -> str:
    values = {"owner": _owner(f), "connections": _connections(f)}
    return tr("{owner} has had nothing back since it sent something on {connections}", **values)


@sentence("idle-unproven")
def _idle_unproven(f: Finding) -> str:
    return tr(
        "{owner}: {n:,} of {connections} are idle for up to {time} without keepalive: cannot tell whether the peer is "
        "still there",
        owner=_owner(f),
        n=f.count("without_keepalive"),
        connections=_connections(f),
        time=lasted(f.number("oldest_s")),
    )


@lead("peer-silent")
def _peer_silent(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "connections": _connections(f)}
    brief = tr("{owner} waits for peers that do not answer: {connections}", **values)
    return brief, listed([_tries(f), tr("the last answer is up to {time} old", time=lasted(f.number("oldest_s")))])


@lead("slow-reader")
def _slow_reader(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "connections": _connections(f), "size": show_bytes(f.number("unread_bytes"))}
    nothing = tr("nothing came for {time} or longer", time=lasted(f.number("youngest_s")))
    why = tr("the thread that reads is stuck or slow")
    if f.has("held_up"):
        why = tr_n(
            "perhaps as what it passes on is not read by {peer}: {n:,} connection",
            "perhaps as what it passes on is not read by {peer}: {n:,} connections",
            f.count("held_up"),
            peer=_told_peer(f.text("held_up_by")),
        )
    return tr("{owner} does not read {connections}: {size} wait", **values), listed([nothing, why])


@lead("requests-unread")
def _requests_unread(f: Finding) -> tuple[str, str]:
    values = {"owner": _owner(f), "connections": _connections(f)}
    brief = tr("{owner} does not read what its clients sent: {connections}", **values)
    nothing = tr("nothing came for {time} or longer", time=lasted(f.number("youngest_s")))
    why = tr("its event loop or threads are stuck or too busy")
    return brief, listed([nothing, _awaits(f) or _handed(f) or why])


@lead("slow-peer")
def _slow_peer(f: Finding) -> tuple[str, str]:
    size = show_bytes(f.number("unacked_bytes")) if f.has("unacked_bytes") else tr("data")
    values = {"owner": _owner(f), "connections": _connections(f), "size": size}
    alive = tr("it answers the probes of its closed window, so it is alive")
    if f.has("orphans"):
        brief = tr("the peer of {connections} that no process holds does not read: {size} wait", **values)
        return brief, listed([alive, tr("the kernel ends them after some minutes")])
    return tr("the peer of {owner} does not read: {size} wait on {connections}", **values), alive


@lead("fin-wait-held")
def _fin_wait2_held(f: Finding) -> tuple[str, str]:
    brief = tr(
        "{owner} keeps {connections} in FIN_WAIT2, which no timeout ends while a process holds them",
        owner=_owner(f),
        connections=_connections(f),
    )
    waits = tr("the peer has not closed its end")
    return brief, listed([_oldest(f), waits, tr("the program waits for an answer, or forgot them")])


@sentence("fin-wait-orphan")
def _fin_wait2_orphan(f: Finding) -> str:
    if not f.has("tcp_fin_timeout"):
        return tr("{connections} in FIN_WAIT2 that nobody holds; the kernel ends them", connections=_n(f))
    return tr(
        "{connections} in FIN_WAIT2 that nobody holds; the kernel ends them after {time}",
        connections=_n(f),
        time=lasted(f.number("tcp_fin_timeout")),
    )


@lead("orphans-retrying")
def _orphans_retrying(f: Finding) -> tuple[str, str]:
    limit = f.fact("sockets").limit
    closed = tr_n("{n:,} closed connection", "{n:,} closed connections", f.count("sockets"))
    if limit is not None:
        closed = tr("{connections} (of at most {limit:,.0f})", connections=closed, limit=limit)
    brief = tr("{connections} wait for peers that do not answer", connections=closed)
    return brief, listed([_tries(f), tr("the oldest {time}", time=lasted(f.number("oldest_s")))])


def _tries(f: Finding) -> str:
    return tr_n("retransmitted up to {n:,} time", "retransmitted up to {n:,} times", f.count("retransmits"))


@lead("ports-near-end")
def _ports_near_end(f: Finding) -> tuple[str, str]:
    share = f.number("ports") / (f.fact("ports").limit or 1)
    brief = tr(
        "{held} local ports ({share}) towards {peer} are taken",
        held=held(f, "ports"),
        share=f"{share:.0%}",
        peer=f.text("peer"),
    )
    waiting = tr("by connections that are open")
    if f.count("waiting"):
        waiting = tr("{n:,} of them in TIME_WAIT", n=f.count("waiting"))
    slow = tr("connect() there fails")
    if share < 1:
        slow = tr("each connect() there takes about 14 times the CPU time")
    reuse = ""
    if f.count("waiting") and f.has("tcp_tw_reuse") and f.count("tcp_tw_reuse") == 2:
        reuse = tr("tcp_tw_reuse = 2 reuses ports on loopback only")
    return brief, listed([waiting, slow, reuse])


@lead("tw-overflow")
def _tw_overflow(f: Finding) -> tuple[str, str]:
    text = tr_n(
        "{n:,} connection closed without TIME_WAIT, as there was no room for it",
        "{n:,} connections closed without TIME_WAIT, as there was no room for it",
        f.count("TCPTimeWaitOverflow"),
    )
    if f.has("tcp_max_tw_buckets"):
        text = tr("{text} (tcp_max_tw_buckets = {n:,})", text=text, n=f.count("tcp_max_tw_buckets"))
    return text, ""


# --- memory -----------------------------------------------------------------------------------------------------------


@lead("memory-pressure")
def _memory_pressure(f: Finding) -> tuple[str, str]:
    pages = held(f, "pages")
    brief = tr("TCP is near memory pressure: it holds {held} pages", held=pages)
    if f.count("pressed"):
        brief = tr("TCP is under memory pressure: it holds {held} pages", held=pages)
    return brief, tr("windows shrink; above the last limit connections are reset")


@lead("orphans-near-limit")
def _orphans_near_limit(f: Finding) -> tuple[str, str]:
    brief = tr("{held} connections that no process holds", held=held(f, "orphans"))
    return brief, tr("above the limit they are reset")


@lead("receiver-pruned")
def _receiver_pruned(f: Finding) -> tuple[str, str]:
    counted = ", ".join(f"{fact.name} {fact.value:,}" for fact in f.facts)
    text = tr(
        "received data was discarded for lack of memory ({counters}, since the namespace was made)", counters=counted
    )
    return text, tr("programs read too slowly, or tcp_rmem or the memory limit of a cgroup is too small")
