"""Settings: excluded by the values they have."""

from __future__ import annotations

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact


@excluded("release-time-short")
def not_too_short(e: Evidence) -> Against:
    least = min((view.retries for view in e.now.listeners), default=e.now.retries)
    return (Fact("tcp_synack_retries", least, 1),) if least else ()


@excluded("cookies-always")
def cookies_when_full(e: Evidence) -> Against:
    known = "tcp_syncookies" in e.now.sample.settings
    return (Fact("tcp_syncookies", e.cookies),) if known and e.cookies != 2 else ()


@excluded("abort-on-overflow")
def no_abort(e: Evidence) -> Against:
    setting = e.now.sample.settings.get("tcp_abort_on_overflow")
    if setting == 0:
        return (Fact("tcp_abort_on_overflow", 0),)
    known = "ListenOverflows" in e.now.sample.counters
    return (Fact("ListenOverflows", 0),) if known and not e.total("ListenOverflows") else ()
