"""Sentences about connections that finished the handshake and wait for data."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.words import at, held, lasted, lead, per_s
from halfopen.present.language import tr, tr_n


@lead("deferred-accept")
def _deferred_accept(f: Finding) -> tuple[str, str]:
    if f.has("syn_queue"):
        return _filled(f), _meanwhile(f)
    if f.has("deferred_at_most"):
        return tr(
            "up to {n:,} connections in SYN_RECV finished the handshake and wait for data (TCP_DEFER_ACCEPT); of those "
            "that came in the last second, only eBPF can tell which ones are half-open",
            n=f.count("deferred_at_most"),
        ), ""
    return tr_n(
        "{n:,} connection in SYN_RECV finished the handshake and waits for data (TCP_DEFER_ACCEPT): not half-open",
        "{n:,} connections in SYN_RECV finished the handshake and wait for data (TCP_DEFER_ACCEPT): not half-open",
        f.count("deferred"),
    ), ""


def _filled(f: Finding) -> str:
    values = {"at": at(f), "held": held(f, "syn_queue"), "n": f.count("deferred")}
    if not f.has("defer_accept_s"):
        return tr(
            "the SYN queue of {at} is full ({held}): {n:,} connections in it finished the handshake and wait for data "
            "(TCP_DEFER_ACCEPT)",
            **values,
        )
    return tr(
        "the SYN queue of {at} is full ({held}): {n:,} connections in it finished the handshake and wait for data, "
        "each for up to {time} (TCP_DEFER_ACCEPT)",
        time=lasted(f.number("defer_accept_s")),
        **values,
    )


def _meanwhile(f: Finding) -> str:
    """How new clients fare."""
    if f.has("dropped_syns_per_s"):
        rate = per_s(f, "dropped_syns_per_s")
        return tr("new SYNs are dropped, {rate} now, as SYN cookies are off", rate=rate)
    if f.has("SyncookiesSent_per_s") and f.number("SyncookiesSent_per_s"):
        values = {"sent": per_s(f, "SyncookiesSent_per_s"), "back": per_s(f, "SyncookiesRecv_per_s")}
        return tr("new clients get SYN cookies: {sent} are sent, and {back} come back", **values)
    return ""
