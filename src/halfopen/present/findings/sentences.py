"""What a finding says: one function for each id, from its facts to a sentence."""

from __future__ import annotations

from collections.abc import Callable

from halfopen.core.findings.finding import Finding
from halfopen.core.model import timing
from halfopen.core.model.listeners import ListenerView
from halfopen.core.tune.settings import GOOD_RETRIES
from halfopen.core.units import listener_text, plural, show_duration

Sentence = Callable[[Finding], str]

SENTENCES: dict[str, Sentence] = {}


def sentence(*ids: str) -> Callable[[Sentence], Sentence]:
    """Register the decorated function as the sentence of these findings. Raises: ValueError when one has one."""

    def register(made: Sentence) -> Sentence:
        for id in ids:
            if id in SENTENCES:
                raise ValueError(f"two sentences for {id!r}")
            SENTENCES[id] = made
        return made

    return register


def say(finding: Finding) -> str:
    """The finding as one sentence with its evidence. Raises: KeyError for an id that has no sentence."""
    return SENTENCES[finding.id](finding)


def listener_name(view: ListenerView) -> str:
    """`:8080`, or with the address where the listener is bound to one."""
    return listener_text(view.address, view.port)


def _at(f: Finding) -> str:
    return listener_name(f.at)


def _fresh(f: Finding) -> str:
    new = f.count("arrivals_per_s")
    return f"{new:,} in the last second" if new else "none new in the last second"


# --- why there are many -----------------------------------------------------------------------------------------------


@sentence("burst")
def _burst(f: Finding) -> str:
    return (
        f"{f.count('half_open'):,} handshakes are under way, none older than a second: a burst of clients, or a flood "
        "that just began"
    )


@sentence("few-sources")
def _few_sources(f: Finding) -> str:
    return (
        f"{f.number('share'):.0%} come from {f.text('prefix')} ({f.count('from_prefix'):,}; {_fresh(f)}): a few "
        "sources that never answer"
    )


@sentence("spoofed-flood")
def _spoofed_flood(f: Finding) -> str:
    return (
        f"{f.count('half_open'):,} from {f.count('distinct_sources'):,} addresses ({_fresh(f)}): a SYN flood from "
        "spoofed addresses"
    )


@sentence("unanswered")
def _unanswered(f: Finding) -> str:
    return (
        f"{f.number('unanswered'):.0%} left two or more SYN-ACKs unanswered: no client behind them, or the way back to "
        "it is cut"
    )


@sentence("slow-clients")
def _slow_clients(f: Finding) -> str:
    oldest = show_duration(f.number("oldest_s"))
    return (
        f"{f.count('half_open'):,} wait for the client's last ACK, the oldest for {oldest} ({_fresh(f)}): slow or "
        "lossy paths"
    )


# --- queues -----------------------------------------------------------------------------------------------------------


def _waiting(f: Finding) -> str:
    fact = f.fact("accept_queue")
    return f"{fact.value:,} of {fact.limit:,} finished connections wait in the accept queue of {_at(f)}"


@sentence("accept-queue-filling")
def _accept_queue_filling(f: Finding) -> str:
    return f"{_waiting(f)}: {_holder(f)} accepts too slowly"


def _holder(f: Finding) -> str:
    processes = f.at.processes
    return f"{processes[0].name} (pid {processes[0].pid})" if processes else "its process"


@sentence("accept-queue-full")
def _accept_queue_full(f: Finding) -> str:
    processes = f.at.processes
    look = f" (cat /proc/{processes[0].pid}/stack says where it is)" if processes else ""
    return (
        f"{_waiting(f)}: {_holder(f)} does not accept, so handshakes cannot finish; releasing half-open ones will not "
        f"help, a longer queue does if it is only slow{look}"
    )


def _held(f: Finding) -> str:
    fact = f.fact("syn_queue")
    return f"{fact.value:,} of {fact.limit:,}"


@sentence("syn-queue-full")
def _syn_queue_full(f: Finding) -> str:
    effect = "new clients are let in by SYN cookies" if f.number("tcp_syncookies") else "new SYNs are dropped"
    return f"the SYN queue of {_at(f)} is full ({_held(f)}): {effect}"


@sentence("syn-queue-filling")
def _syn_queue_filling(f: Finding) -> str:
    text = f"the SYN queue of {_at(f)} is {f.at.fill:.0%} full ({_held(f)})"
    fact = f.fact("effective_release_time_s")
    if fact.limit is not None and f.number(fact.name) < fact.limit:
        now, usual = show_duration(f.number(fact.name)), show_duration(fact.limit)
        text += f": the kernel now gives up after {now} instead of {usual}"
    return text


# --- settings ---------------------------------------------------------------------------------------------------------


@sentence("cookies-off")
def _cookies_off(f: Finding) -> str:
    return f"SYN cookies are off (tcp_syncookies = {f.count('tcp_syncookies')}): a full queue turns clients away"


@sentence("release-time-long")
def _release_time_long(f: Finding) -> str:
    shorter = show_duration(timing.release_time_s(GOOD_RETRIES))
    return (
        f"an unanswered half-open connection stays {show_duration(f.number('release_time_s'))} "
        f"(tcp_synack_retries = {f.count('tcp_synack_retries')}); {GOOD_RETRIES} would make it {shorter}"
    )


# --- those who answered, and the reading itself -----------------------------------------------------------------------


@sentence("answered")
def _answered(f: Finding) -> str:
    return (
        f"{plural(f.count('answered'), 'client')} of {_at(f)} answered while its accept queue was full, and the kernel "
        "ignored the ACK: not half-open; each gets in once there is room and it sends data"
    )


@sentence("deferred-accept")
def _deferred_accept(f: Finding) -> str:
    n = plural(f.count("deferred"), "connection")
    return f"{n} in SYN_RECV finished the handshake and wait for data (TCP_DEFER_ACCEPT): not half-open"


@sentence("may-have-answered")
def _may_have_answered(f: Finding) -> str:
    return (
        f"{f.count('may_have_answered'):,} of them may have answered: {f.text('doubt')}, and the kernel ignores the "
        "last ACK of a handshake then; only eBPF can tell whether they did, and release leaves them alone"
    )


@sentence("incomplete-reading")
def _incomplete_reading(f: Finding) -> str:
    return f"this reading is incomplete: {f.text('problem')}"


@sentence("not-shown")
def _not_shown(f: Finding) -> str:
    return f.text("note")
