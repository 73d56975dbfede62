"""Sentences about accept queues that nobody takes from, and about the processes that should."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.finding import Finding
from halfopen.core.findings.holder import FOR_EVENTS
from halfopen.present.findings.words import at, held, lasted, lead, per_s
from halfopen.present.language import listed, tr, tr_n


def _process(f: Finding) -> str:
    """The process that does not accept: `python3 28543 (web.service)`."""
    if not f.has("process"):
        return tr("the process that holds it")
    inside = f" ({f.text('inside')})" if f.has("inside") else ""
    return f"{f.text('process')} {f.count('pid')}{inside}"


def _accepted(f: Finding) -> str:
    if not f.has("accepted_at_most"):
        return ""
    n, time = f.count("accepted_at_most"), lasted(f.number("interval_s"))
    return tr("accepted at most {n:,} in {time}", n=n, time=time) if n else tr("accepted nothing in {time}", time=time)


def _accept_queue(f: Finding) -> str:
    fact = f.fact("accept_queue")
    values = {"at": at(f), "held": held(f, "accept_queue")}
    if fact.limit is not None and f.number("accept_queue") >= fact.limit:
        if fact.limit == 1:
            return tr("the accept queue of {at} is full ({held}), as its backlog is 0", **values)
        return tr("the accept queue of {at} is full ({held})", **values)
    return tr("the accept queue of {at} holds {held}", **values)


# A handshake over a long path takes that long.
_LONG_S: Final = 1.0


def _waits(where: str) -> str:
    """Where a thread waits, in words; else the name of the kernel's function."""
    if where == "hrtimer_nanosleep":
        return tr("sleeps")
    if where in ("futex_do_wait", "futex_wait_queue"):
        return tr("waits for a lock")
    if where == "do_wait":
        return tr("waits for a child process")
    if where in ("anon_pipe_read", "pipe_read"):
        return tr("waits for a pipe")
    if where in ("anon_pipe_write", "pipe_write"):
        return tr("waits to write to a pipe that is full")
    if where == "sk_stream_wait_memory":
        return tr("waits to send to a peer that does not read")
    if where in ("unix_wait_for_peer", "sock_alloc_send_pskb"):
        return tr("waits to send to a local socket that is full")
    if where in ("sk_wait_data", "wait_woken"):
        return tr("waits for data of another connection")
    if where == "inet_wait_for_connect":
        return tr("waits for a connection of its own to open")
    if where == "unix_stream_read_generic":
        return tr("waits for data of a local socket")
    if where == "locks_lock_inode_wait":
        return tr("waits for the lock of a file")
    if where in ("io_schedule", "folio_wait_bit_common"):
        return tr("waits for a disk")
    return tr("waits in {function}", function=where) if where else tr("waits")


def _keeps(f: Finding) -> str:
    """The process's activity instead of accepting."""
    why = f.text("why")
    if why == "stopped":
        return stopped(f)
    if why == "out-of-descriptors":
        return _no_descriptors(f)
    if why == "throttled":
        return tr("has used up the CPU quota of its cgroup ({held} periods)", held=held(f, "throttled_periods"))
    if why == "starved":
        return tr("waited for a CPU {share} of the time", share=f"{f.number('waited_for_cpu_share'):.0%}")
    if why == "blocked":
        return _blocked(f)
    if why == "slow":
        return tr("accepts fewer than come")
    return tr("does not accept") if f.has("accepted_at_most") else tr("does not accept, or too slowly")


def stopped(f: Finding) -> str:
    """How a process was stopped, as the end of a sentence about it."""
    if f.has("frozen"):
        return tr("is frozen (its cgroup is, as by docker pause or systemctl freeze)")
    if f.text("state") != "t":
        return tr("is stopped (state T, as by SIGSTOP)")
    if f.has("tracer"):
        return tr("is stopped by a debugger (process {pid})", pid=f.count("tracer"))
    return tr("is stopped by a debugger")


def _no_descriptors(f: Finding) -> str:
    if f.has("descriptors"):
        opened = held(f, "descriptors")
        return tr("has no file descriptors left ({held} are open), and accept() fails", held=opened)
    opened = held(f, "open_files")
    return tr("gets no file: the whole system has {held} open (fs.file-max), and accept() fails", held=opened)


def _blocked(f: Finding) -> str:
    if f.has("cpu_share"):
        return tr("computes ({share} of a CPU) and does not accept", share=f"{f.number('cpu_share'):.0%}")
    text = _waits(f.text("waits_in") if f.has("waits_in") else "")
    if f.text("state") == "D":
        return tr("{waits} (state D, uninterruptible) and does not accept", waits=text)
    return tr("{waits} and does not accept", waits=text)


def _alike(f: Finding) -> str:
    """How many other processes are like the one that is named."""
    stuck, all = (f.count(name) if f.has(name) else 1 for name in ("stuck_processes", "processes"))
    if all < 2:
        return ""
    if f.text("why") in ("slow", "unknown"):
        return tr_n(
            "{n:,} other process holds the socket as well", "{n:,} other processes hold the socket as well", all - 1
        )
    if stuck == all == 2:
        return tr("both processes that accept there are like that")
    if stuck == all:
        return tr("all {n:,} processes that accept there are like that", n=all)
    return tr("{stuck:,} of {n:,} processes that accept there are like that", stuck=stuck, n=all)


def _not_accepted(f: Finding) -> list[str]:
    """The effect on clients, and how fast it comes."""
    parts = [_accepted(f)]
    if f.has("oldest_s") and f.number("oldest_s") >= _LONG_S:
        parts.append(tr("the next one in it is {time} old", time=lasted(f.number("oldest_s"))))
    if f.has("overflows_per_s"):
        parts.append(tr("{rate} overflow", rate=per_s(f, "overflows_per_s")))
    return [*parts, _more(f), _alike(f)]


def _more(f: Finding) -> str:
    """The rest of the process facts."""
    if f.text("why") == "stopped":
        # Also a person presses Ctrl-Z, pauses a container or attaches a debugger.
        return tr("let it go on, if that is not intended")
    if f.text("why") == "out-of-descriptors":
        if not f.has("descriptors"):
            return ""
        if f.has("inside") and "." in f.text("inside"):
            return tr("raise LimitNOFILE of {unit}, or have it close what it leaks", unit=f.text("inside"))
        return tr("raise the limit, or have it close what it leaks")
    if f.text("why") != "unknown":
        return ""
    if f.has("waits_in") and f.text("waits_in") in FOR_EVENTS:
        return tr(
            "it waits for events ({function}): a limit of its own may be reached, such as a maximum of connections",
            function=f.text("waits_in"),
        )
    if f.has("process"):
        return tr("cannot tell why")
    return tr("cannot tell why: the process is hidden from here; root on the host sees it")


@lead("app-not-accepting")
def _app_not_accepting(f: Finding) -> tuple[str, str]:
    values = {"queue": _accept_queue(f), "process": _process(f), "keeps": _keeps(f)}
    return tr("{queue}: {process} {keeps}", **values), listed(_not_accepted(f))


@lead("member-not-accepting")
def _member_not_accepting(f: Finding) -> tuple[str, str]:
    process, keeps = _process(f), _keeps(f)
    if not f.has("stuck_sockets"):
        queue = _accept_queue(f)
        brief = tr("{queue}: its worker {process} {keeps}", queue=queue, process=process, keeps=keeps)
        return brief, listed(_not_accepted(f))
    fact, values = f.fact("accept_queue"), {"all": f.count("sockets"), "at": at(f), "held": held(f, "accept_queue")}
    if fact.limit is not None and f.number("accept_queue") >= fact.limit:
        sockets = tr_n(
            "{n} of {all} sockets on {at} has a full accept queue ({held})",
            "{n} of {all} sockets on {at} have a full accept queue ({held})",
            f.count("stuck_sockets"),
            **values,
        )
    else:
        sockets = tr_n(
            "{n} of {all} sockets on {at} has an accept queue ({held})",
            "{n} of {all} sockets on {at} have an accept queue ({held})",
            f.count("stuck_sockets"),
            **values,
        )
    brief = tr("{queue}: {process} {keeps}", queue=sockets, process=process, keeps=keeps)
    return brief, listed([tr("the others drain, and the clients that the kernel sends there hang"), *_not_accepted(f)])
