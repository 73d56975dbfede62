"""Sentences about settings that cost clients whatever the traffic."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.core.model import timing
from halfopen.core.tune.goals import GOOD_RETRIES
from halfopen.present.findings.words import at, lasted, lead, per_s, sentence
from halfopen.present.language import listed, tr, tr_n


@sentence("release-time-long")
def _release_time_long(f: Finding) -> str:
    values = {
        "until": lasted(f.number("release_time_s")),
        "n": f.count("tcp_synack_retries"),
        "good": GOOD_RETRIES,
        "shorter": lasted(timing.release_time_s(GOOD_RETRIES)),
    }
    if f.has("effective_release_time_s"):
        return tr(
            "an unanswered half-open connection stays {until} while the queue is at most half full (tcp_synack_retries "
            "= {n}), and {now} now; {good} would make it {shorter} from the start",
            now=lasted(f.number("effective_release_time_s")),
            **values,
        )
    return tr(
        "an unanswered half-open connection stays {until} (tcp_synack_retries = {n}); {good} would make it {shorter}",
        **values,
    )


@sentence("release-time-short")
def _release_time_short(f: Finding) -> str:
    text = tr(
        "{at} sends a single SYN-ACK and gives up after {time}: clients far away or behind a lossy path cannot get in",
        at=at(f),
        time=lasted(f.number("release_time_s")),
    )
    if not f.number("timeouts_per_s"):
        return text
    return listed([text, tr("{rate} time out", rate=per_s(f, "timeouts_per_s"))])


def _not_sent_back(f: Finding) -> str:
    if f.has("sources_again"):
        return tr(
            "{sent} are sent now, and {back} come back; {n:,} sources sent several SYNs and no ACK: clients that do "
            "not receive the SYN-ACK do that, each from the same port, and so do hosts that flood, from ever new ports",
            sent=per_s(f, "SyncookiesSent_per_s"),
            back=per_s(f, "SyncookiesRecv_per_s"),
            n=f.count("sources_again"),
        )
    return tr(
        "{sent} are sent now, and {back} come back: either a flood, or clients that do not receive "
        "the SYN-ACK. A longer look with eBPF, which counts packets, tells which",
        sent=per_s(f, "SyncookiesSent_per_s"),
        back=per_s(f, "SyncookiesRecv_per_s"),
    )


@lead("cookies-always")
def _cookies_always(f: Finding) -> tuple[str, str]:
    text = tr(
        "every SYN is answered by a cookie (tcp_syncookies = 2): {sent:,} sent, {back:,} came back",
        sent=f.count("SyncookiesSent"),
        back=f.count("SyncookiesRecv"),
    )
    if f.has("SyncookiesSent_per_s"):
        return text, _not_sent_back(f)
    if not f.has("without_timestamps"):
        return text, tr("clients without TCP timestamps lose window scaling")
    if not f.count("without_timestamps"):
        whole = tr(
            "each of {n:,} handshakes that finished meanwhile had TCP timestamps, and lost nothing",
            n=f.count("finished"),
        )
        return text, whole
    counted = tr_n(
        "{lost:,} of {n:,} handshake that finished meanwhile had no TCP timestamps, and lost window scaling and SACK",
        "{lost:,} of {n:,} handshakes that finished meanwhile had no TCP timestamps, and lost window scaling and SACK",
        f.count("finished"),
        lost=f.count("without_timestamps"),
    )
    return text, counted


@lead("abort-on-overflow")
def _abort_on_overflow(f: Finding) -> tuple[str, str]:
    return (
        tr("tcp_abort_on_overflow is on: clients are reset when an accept queue overflows"),
        tr_n("that happened {n:,} time", "that happened {n:,} times", f.count("ListenOverflows")),
    )
