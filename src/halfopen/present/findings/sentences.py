"""The sentences of findings: one function for each id, from its facts to a sentence."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.core.model import timing
from halfopen.core.tune.goals import GOOD_RETRIES
from halfopen.core.units import plural, show_duration
from halfopen.present.findings import accepting as accepting  # registers its sentences
from halfopen.present.findings import losses as losses  # the same
from halfopen.present.findings.words import SENTENCES as SENTENCES
from halfopen.present.findings.words import at as _at
from halfopen.present.findings.words import held as _held
from halfopen.present.findings.words import lead as lead
from halfopen.present.findings.words import listener_name as listener_name
from halfopen.present.findings.words import per_s as _per_s
from halfopen.present.findings.words import say as say
from halfopen.present.findings.words import sentence as sentence


def _fresh(f: Finding) -> str:
    new = f.count("arrivals_per_s")
    return f"{new:,} in the last second" if new else "none new in the last second"


# --- floods and paths -------------------------------------------------------------------------------------------------


def _unanswered(f: Finding) -> str:
    """What decides: what is not answered beside what finishes."""
    text = f"{_per_s(f, 'unanswered_per_s')} are never answered while {_per_s(f, 'completions_per_s')} finish"
    if f.has("finished_by_them"):
        text += ", none of theirs"
    if f.number("cookies_unanswered_per_s"):
        text += f" ({_per_s(f, 'cookies_unanswered_per_s')} of them by SYN cookie)"
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
        f"SYN flood from forged addresses: {_unanswered(f)}; {_last(f)}, from {f.count('distinct_sources'):,} "
        f"addresses, and {_nobody_asks_again(f)}{_room(f)}"
    )


def _room(f: Finding) -> str:
    """How soon a release would be undone."""
    if not f.has("syn_queue"):
        return ""
    rate, limit = f.number("unanswered_per_s"), f.fact("syn_queue").limit or 0
    if rate < 1 or limit / rate > 60:
        return ""
    return f". A release would be filled up again within {show_duration(max(0.1, round(limit / rate, 1)))}"


@sentence("few-sources-flood")
def _few_sources_flood(f: Finding) -> str:
    n = f.count("distinct_sources")
    if n == 1:
        return f"{f.text('prefix')} floods or is broken: {_unanswered(f)}; {_last(f)}, and {_nobody_asks_again(f)}"
    return (
        f"{n} addresses flood or are broken: {_unanswered(f)}; {_last(f)}, {f.number('share'):.0%} from "
        f"{f.text('prefix')}, and {_nobody_asks_again(f)}"
    )


@sentence("prefix-flood")
def _prefix_flood(f: Finding) -> str:
    hosts = plural(f.count("distinct_sources"), "address", "addresses")
    return (
        f"{hosts} of one network, {f.text('prefix')}, flood or are broken: {_unanswered(f)}; {_last(f)}, and "
        f"{_nobody_asks_again(f)}"
    )


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


@sentence("synacks-lost")
def _synacks_lost(f: Finding) -> str:
    whom = f"clients of {_at(f)}" + (f" in {f.text('prefix')}" if f.has("prefix") else "")
    text = (
        f"SYN-ACKs do not reach {whom}: {f.count('repeated'):,} of {f.count('lasting'):,} handshakes that last send "
        f"their SYN again, for up to {show_duration(f.number('oldest_s'))}; a firewall or route drops the way back"
    )
    if f.has("completions_per_s") and f.number("completions_per_s"):
        text += f"; others finish at {_per_s(f, 'completions_per_s')}"
    return text


@sentence("acks-lost")
def _acks_lost(f: Finding) -> str:
    whose = f"clients in {f.text('prefix')}" if f.has("prefix") else "clients"
    return (
        f"the last ACKs of {whose} do not arrive: {f.count('lasting'):,} handshakes last, for up "
        f"to {show_duration(f.number('oldest_s'))}, and none of these clients sends its SYN again, so they hear the "
        f"SYN-ACK; {plural(f.count('finished_lately'), 'address', 'addresses')} of theirs finished handshakes before, "
        f"the last one {show_duration(f.number('last_finished_s'))} ago"
    )


@sentence("slow-path")
def _slow_path(f: Finding) -> str:
    if not f.has("late_share"):
        return f"slow or lossy paths: {_unanswered(f)}; {_last(f)}"
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
        f"{f.text('source')} tries {f.count('ports')} listeners one after another: {_per_s(f, 'syns_per_s')} SYNs, and "
        f"it resets what answers ({_per_s(f, 'resets_per_s')}); {f.count('finished')} handshakes finished"
    )


@sentence("handshakes-finish")
def _handshakes_finish(f: Finding) -> str:
    return (
        f"{f.count('half_open'):,} handshakes are under way and finish: {_per_s(f, 'completions_per_s')}, each after "
        f"about {show_duration(f.number('handshake_s'))}"
    )


# --- queues -----------------------------------------------------------------------------------------------------------


def _now(f: Finding, name: str) -> str:
    """Whether it goes on, where that is known."""
    if not f.has(name):
        return ""
    return f", {_per_s(f, name)} now" if f.number(name) else ", none now"


@lead("past-overflows")
def _past_overflows(f: Finding) -> tuple[str, str]:
    n = plural(f.count("ListenOverflows"), "time")
    return (
        f"accept queues overflowed {n} since the namespace was made{_now(f, 'ListenOverflows_per_s')}",
        f"most at {_at(f)} ({f.count('drops'):,} drops there): its program stalled, or met a burst; the queue holds "
        f"{_held(f, 'accept_queue')} now",
    )


@lead("backlog-small")
def _backlog_small(f: Finding) -> tuple[str, str]:
    backlog = f"the backlog of {_at(f)} is {f.count('backlog'):,}"
    if f.has("ListenOverflows"):
        drops = f"{f.count('drops'):,} drops at {_at(f)}"
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
    text = f"somaxconn = {f.count('somaxconn'):,} caps the queues of {_at(f)}"
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
        text += f"the SYN queue of {_at(f)} is full ({_held(f, 'syn_queue')}), and new SYNs are dropped"
    else:
        text += "a full queue turns clients away"
    dropped = f.count("dropped_syns")
    return text, f"{plural(dropped, 'SYN was', 'SYNs were')} dropped so far" if dropped else ""


@sentence("syn-backlog-reserve")
def _syn_backlog_reserve(f: Finding) -> str:
    return (
        f"with SYN cookies off, the last quarter of tcp_max_syn_backlog = {f.count('tcp_max_syn_backlog'):,} is kept "
        f"back: {_held(f, 'syn_queue')} fill {_at(f)}"
    )


@sentence("timewait-reopen")
def _timewait_reopen(f: Finding) -> str:
    return (
        f"the SYN queue of {_at(f)} holds more than its limit ({_held(f, 'syn_queue')}): SYNs that reopen connections "
        "in TIME_WAIT are admitted past the limit, unless the backlog was lowered meanwhile"
    )


# --- settings ---------------------------------------------------------------------------------------------------------


@sentence("release-time-short")
def _release_time_short(f: Finding) -> str:
    text = (
        f"{_at(f)} sends a single SYN-ACK and gives up after {show_duration(f.number('release_time_s'))}: clients far "
        "away or behind a lossy path cannot get in"
    )
    return f"{text}; {_per_s(f, 'timeouts_per_s')} time out" if f.number("timeouts_per_s") else text


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
        seen.append(f"the SYN queue of {_at(f)} holds {_held(f, 'syn_queue')}")
    if f.has("accept_queue"):
        seen.append(f"the accept queue of {_at(f)} holds {_held(f, 'accept_queue')}")
    if f.has("dropped_syns"):
        seen.append(f"{plural(f.count('dropped_syns'), 'SYN was', 'SYNs were')} dropped, not for a full accept queue")
    elif f.has("unanswered_per_s"):
        seen.append(
            f"{f.count('half_open'):,} are half-open, {f.count('lasting'):,} of them for long; {_unanswered(f)}"
        )
    else:
        seen.append(f"{f.count('half_open'):,} are half-open")
    return seen


def _would_decide(f: Finding) -> str:
    if f.has("dropped_syns"):
        return "Whether more are dropped decides"
    if f.has("lasting") and not f.count("lasting"):
        return "They are young: whether they finish within seconds decides"
    return "Whether handshakes from the same sources finish decides"


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
