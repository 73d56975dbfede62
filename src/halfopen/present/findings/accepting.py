"""Sentences about accept queues that nobody takes from, and about the processes that should."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.finding import Finding
from halfopen.core.findings.holder import FOR_EVENTS
from halfopen.core.units import plural, show_duration
from halfopen.present.findings.words import at, held, lead, per_s


def _process(f: Finding) -> str:
    """The process that does not accept: `python3 28543 (web.service)`."""
    if not f.has("process"):
        return "the process that holds it"
    inside = f" ({f.text('inside')})" if f.has("inside") else ""
    return f"{f.text('process')} {f.count('pid')}{inside}"


def _accepted(f: Finding) -> str:
    if not f.has("accepted_at_most"):
        return ""
    n, time = f.count("accepted_at_most"), show_duration(f.number("interval_s"))
    return f"accepted {f'at most {n:,}' if n else 'nothing'} in {time}"


def _accept_queue(f: Finding) -> str:
    fact = f.fact("accept_queue")
    if fact.limit is not None and f.number("accept_queue") >= fact.limit:
        text = f"is full ({held(f, 'accept_queue')})"
        return text + ", as its backlog is 0" if fact.limit == 1 else text
    return f"holds {held(f, 'accept_queue')}"


# A handshake over a long path takes that long.
_LONG_S: Final = 1.0
# Where a thread waits, in words; else the name of the kernel's function.
_WAITS: Final = {
    "hrtimer_nanosleep": "sleeps",
    "futex_do_wait": "waits for a lock",
    "futex_wait_queue": "waits for a lock",
    "do_wait": "waits for a child process",
    "anon_pipe_read": "waits for a pipe",
    "pipe_read": "waits for a pipe",
    "sk_wait_data": "waits for data of another connection",
    "wait_woken": "waits for data of another connection",
    "inet_wait_for_connect": "waits for a connection of its own to open",
    "unix_stream_read_generic": "waits for data of a local socket",
    "locks_lock_inode_wait": "waits for the lock of a file",
    "io_schedule": "waits for a disk",
    "folio_wait_bit_common": "waits for a disk",
}


def _keeps(f: Finding) -> str:
    """What the process does instead of accepting."""
    why = f.text("why")
    if why == "stopped":
        return "is stopped by a debugger" if f.text("state") == "t" else "is stopped (state T, as by SIGSTOP)"
    if why == "out-of-descriptors":
        return f"has no file descriptors left ({held(f, 'descriptors')} are open), and accept() fails"
    if why == "throttled":
        return f"has used up the CPU quota of its cgroup ({held(f, 'throttled_periods')} periods)"
    if why == "starved":
        return f"waited for a CPU {f.number('waited_for_cpu_share'):.0%} of the time"
    if why == "blocked":
        return _blocked(f)
    if why == "slow":
        return "accepts fewer than come"
    return "does not accept" if f.has("accepted_at_most") else "does not accept, or too slowly"


def _blocked(f: Finding) -> str:
    if f.has("cpu_share"):
        return f"computes ({f.number('cpu_share'):.0%} of a CPU) and does not accept"
    where = f.text("waits_in") if f.has("waits_in") else ""
    text = _WAITS.get(where) or (f"waits in {where}" if where else "waits")
    if f.text("state") == "D":
        text += " (state D, uninterruptible)"
    return f"{text} and does not accept"


def _alike(f: Finding) -> str:
    """How many other processes are like the one that is named."""
    stuck, all = (f.count(name) if f.has(name) else 1 for name in ("stuck_processes", "processes"))
    if all < 2:
        return ""
    if f.text("why") in ("slow", "unknown"):
        return f"; {plural(all - 1, 'other process holds', 'other processes hold')} the socket as well"
    of_them = "both" if stuck == all == 2 else f"all {all}" if stuck == all else f"{stuck} of {all}"
    return f"; {of_them} processes that accept there are like that"


def _not_accepted(f: Finding) -> str:
    """What follows for clients, and how fast."""
    parts = [_accepted(f)]
    if f.has("oldest_s") and f.number("oldest_s") >= _LONG_S:
        parts.append(f"the next one in it is {show_duration(f.number('oldest_s'))} old")
    if f.has("overflows_per_s"):
        parts.append(f"{per_s(f, 'overflows_per_s')} overflow")
    return "; ".join(part for part in (*parts, _more(f)) if part) + _alike(f)


def _more(f: Finding) -> str:
    """What else the process facts say."""
    if f.text("why") == "out-of-descriptors":
        limit = f"LimitNOFILE of {f.text('inside')}" if f.has("inside") and "." in f.text("inside") else "the limit"
        return f"raise {limit}, or have it close what it leaks"
    if f.text("why") != "unknown":
        return ""
    if f.has("waits_in") and f.text("waits_in") in FOR_EVENTS:
        limit = "a limit of its own may be reached, such as a maximum of connections"
        return f"it waits for events ({f.text('waits_in')}): {limit}"
    return "cannot tell why" if f.has("process") else "cannot tell why: it is not seen which process that is"


@lead("app-not-accepting")
def _app_not_accepting(f: Finding) -> tuple[str, str]:
    return f"the accept queue of {at(f)} {_accept_queue(f)}: {_process(f)} {_keeps(f)}", _not_accepted(f)


@lead("member-not-accepting")
def _member_not_accepting(f: Finding) -> tuple[str, str]:
    if not f.has("stuck_sockets"):
        brief = f"the accept queue of {at(f)} {_accept_queue(f)}: its worker {_process(f)} {_keeps(f)}"
        return brief, _not_accepted(f)
    stuck, sockets = f.count("stuck_sockets"), f.count("sockets")
    fact = f.fact("accept_queue")
    full = fact.limit is not None and f.number("accept_queue") >= fact.limit
    queue = f"{'a full' if full else 'an'} accept queue ({held(f, 'accept_queue')})"
    brief = (
        f"{stuck} of {sockets} sockets on {at(f)} {'has' if stuck == 1 else 'have'} {queue}: {_process(f)} {_keeps(f)}"
    )
    hang = "the others drain, and the clients that the kernel sends there hang"
    return brief, "; ".join(part for part in (hang, _not_accepted(f)) if part)
