"""The sentences of findings: one function for each id, from its facts to a sentence."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.core.model import timing
from halfopen.core.tune.goals import GOOD_RETRIES
from halfopen.core.units import plural, show_duration
from halfopen.present.findings import accepting as accepting  # registers its sentences
from halfopen.present.findings import closing as closing  # the same
from halfopen.present.findings import losses as losses  # the same
from halfopen.present.findings.traffic import unanswered
from halfopen.present.findings.words import SENTENCES as SENTENCES
from halfopen.present.findings.words import at, held, per_s
from halfopen.present.findings.words import lead as lead
from halfopen.present.findings.words import listener_name as listener_name
from halfopen.present.findings.words import say as say
from halfopen.present.findings.words import sentence as sentence


def _fresh(f: Finding) -> str:
    new = f.count("arrivals_per_s")
    return f"{new:,} in the last second" if new else "none new in the last second"


# --- queues -----------------------------------------------------------------------------------------------------------


def _now(f: Finding, name: str) -> str:
    """Whether it goes on, where that is known."""
    if not f.has(name):
        return ""
    return f", {per_s(f, name)} now" if f.number(name) else ", none now"


@lead("past-overflows")
def _past_overflows(f: Finding) -> tuple[str, str]:
    n = plural(f.count("ListenOverflows"), "time")
    return (
        f"accept queues overflowed {n} since the namespace was made{_now(f, 'ListenOverflows_per_s')}",
        f"most at {at(f)} ({f.count('drops'):,} drops there): its program stalled, or met a burst; the queue holds "
        f"{held(f, 'accept_queue')} now",
    )


@lead("backlog-small")
def _backlog_small(f: Finding) -> tuple[str, str]:
    backlog = f"the backlog of {at(f)} is {f.count('backlog'):,}"
    if f.has("ListenOverflows"):
        drops = f"{f.count('drops'):,} drops at {at(f)}"
        return (
            f"{_overflowed(f)}: {backlog}",
            f"{drops}: bursts longer than the queue, or a program that stalls{_cookies(f)}",
        )
    return f"a queue is too short for honest bursts; the shortest: {backlog}", _cookies_back(f)


def _overflowed(f: Finding) -> str:
    times = plural(f.count("ListenOverflows"), "time")
    return f"accept queues overflowed {times} since the namespace was made{_now(f, 'ListenOverflows_per_s')}"


def _cookies_back(f: Finding) -> str:
    sent = plural(f.count("SyncookiesSent"), "SYN cookie was", "SYN cookies were")
    now = _now(f, "SyncookiesSent_per_s")
    return f"{sent} sent since the namespace was made{now}, and {f.count('SyncookiesRecv'):,} came back"


def _cookies(f: Finding) -> str:
    if not f.has("SyncookiesSent"):
        return ""
    return f"; a SYN queue overflowed as well: {plural(f.count('SyncookiesSent'), 'SYN cookie')} sent"


@lead("somaxconn-clamp")
def _somaxconn_clamp(f: Finding) -> tuple[str, str]:
    text = f"somaxconn = {f.count('somaxconn'):,} caps the queues of {at(f)}"
    if f.has("capped"):
        others = f.count("capped") - 1
        text += f" and of {plural(others, 'other listener')}" if others else ""
        counted = _overflowed(f) + _cookies(f) if f.has("ListenOverflows") else _cookies_back(f)
        return f"{text}, too short for honest bursts", counted
    return text, ""


@lead("cookies-off")
def _cookies_off(f: Finding) -> tuple[str, str]:
    text = f"SYN cookies are off (tcp_syncookies = {f.count('tcp_syncookies')}): "
    if f.has("syn_queue"):
        text += f"the SYN queue of {at(f)} is full ({held(f, 'syn_queue')}), and new SYNs are dropped"
    else:
        text += "a full queue turns clients away"
    dropped = f.count("dropped_syns")
    return text, f"{plural(dropped, 'SYN was', 'SYNs were')} dropped so far" if dropped else ""


@sentence("syn-backlog-reserve")
def _syn_backlog_reserve(f: Finding) -> str:
    return (
        f"with SYN cookies off, the last quarter of tcp_max_syn_backlog = {f.count('tcp_max_syn_backlog'):,} is kept "
        f"back: {held(f, 'syn_queue')} fill {at(f)}"
    )


@sentence("timewait-reopen")
def _timewait_reopen(f: Finding) -> str:
    return (
        f"the SYN queue of {at(f)} holds more than its limit ({held(f, 'syn_queue')}): SYNs that reopen connections "
        "in TIME_WAIT are admitted past the limit, unless the backlog was lowered meanwhile"
    )


# --- settings ---------------------------------------------------------------------------------------------------------


@sentence("release-time-long")
def _release_time_long(f: Finding) -> str:
    shorter = show_duration(timing.release_time_s(GOOD_RETRIES))
    setting = f"tcp_synack_retries = {f.count('tcp_synack_retries')}"
    if f.has("effective_release_time_s"):
        now = show_duration(f.number("effective_release_time_s"))
        until = show_duration(f.number("release_time_s"))
        return (
            f"an unanswered half-open connection stays {until} while the queue is at most half full ({setting}), and "
            f"{now} now; {GOOD_RETRIES} would make it {shorter} from the start"
        )
    return (
        f"an unanswered half-open connection stays {show_duration(f.number('release_time_s'))} ({setting}); "
        f"{GOOD_RETRIES} would make it {shorter}"
    )


@sentence("release-time-short")
def _release_time_short(f: Finding) -> str:
    text = (
        f"{at(f)} sends a single SYN-ACK and gives up after {show_duration(f.number('release_time_s'))}: clients far "
        "away or behind a lossy path cannot get in"
    )
    return f"{text}; {per_s(f, 'timeouts_per_s')} time out" if f.number("timeouts_per_s") else text


@sentence("cookies-always")
def _cookies_always(f: Finding) -> str:
    return (
        f"every SYN is answered by a cookie (tcp_syncookies = 2): {f.count('SyncookiesSent'):,} sent, "
        f"{f.count('SyncookiesRecv'):,} came back; clients without TCP timestamps lose window scaling"
    )


@lead("abort-on-overflow")
def _abort_on_overflow(f: Finding) -> tuple[str, str]:
    brief = "tcp_abort_on_overflow is on: clients are reset when an accept queue overflows"
    return brief, f"that happened {plural(f.count('ListenOverflows'), 'time')}"


# --- undecided --------------------------------------------------------------------------------------------------------


@sentence("cannot-tell")
def _cannot_tell(f: Finding) -> str:
    return f"cannot tell yet why: {'; '.join(_seen(f))}. {_would_decide(f)}"


def _seen(f: Finding) -> list[str]:
    seen = []
    if f.has("syn_queue"):
        seen.append(f"the SYN queue of {at(f)} holds {held(f, 'syn_queue')}")
    if f.has("accept_queue"):
        seen.append(f"the accept queue of {at(f)} holds {held(f, 'accept_queue')}")
    if f.has("EmbryonicRsts_per_s"):
        seen.append(
            f"{per_s(f, 'EmbryonicRsts_per_s')} handshakes are reset by their clients, and "
            f"{per_s(f, 'OutRsts_per_s')} RSTs answer other packets, as in a scan"
        )
    elif f.has("dropped_syns"):
        seen.append(f"{plural(f.count('dropped_syns'), 'SYN was', 'SYNs were')} dropped, not for a full accept queue")
    elif f.has("unanswered_per_s"):
        seen.append(f"{f.count('half_open'):,} are half-open, {f.count('lasting'):,} of them for long; {unanswered(f)}")
    else:
        seen.append(f"{f.count('half_open'):,} are half-open")
    return seen


def _would_decide(f: Finding) -> str:
    if f.has("EmbryonicRsts_per_s"):
        return "Whose they are decides, which eBPF counts"
    if f.has("dropped_syns"):
        return "Whether more are dropped decides"
    if f.has("lasting") and not f.count("lasting"):
        return "They are young: whether they finish within seconds decides"
    return "Whether handshakes from the same sources finish decides"


# --- those who answered, and the reading itself -----------------------------------------------------------------------


@sentence("answered")
def _answered(f: Finding) -> str:
    return (
        f"{plural(f.count('answered'), 'client')} of {at(f)} answered while its accept queue was full, and the kernel "
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
