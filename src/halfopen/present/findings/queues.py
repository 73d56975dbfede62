"""Sentences about queues that are too short for honest traffic, and the settings that cap them."""

from __future__ import annotations

from halfopen.core.findings.finding import Finding
from halfopen.present.findings.words import at, held, lasted, lead, per_s, sentence
from halfopen.present.language import listed, tr, tr_n


def _now(f: Finding, name: str) -> str:
    """Whether it goes on, where that is known."""
    if not f.has(name):
        return ""
    return tr(", {rate} now", rate=per_s(f, name)) if f.number(name) else tr(", none now")


def _overflowed(f: Finding) -> str:
    return tr_n(
        "accept queues overflowed {n:,} time since the namespace was made{now}",
        "accept queues overflowed {n:,} times since the namespace was made{now}",
        f.count("ListenOverflows"),
        now=_now(f, "ListenOverflows_per_s"),
    )


@lead("past-overflows")
def _past_overflows(f: Finding) -> tuple[str, str]:
    return _overflowed(f), tr(
        "most at {at} ({drops:,} drops there): its program stalled, or met a burst; the queue holds {held} now",
        at=at(f),
        drops=f.count("drops"),
        held=held(f, "accept_queue"),
    )


@lead("backlog-small")
def _backlog_small(f: Finding) -> tuple[str, str]:
    backlog = tr("the backlog of {at} is {n:,}", at=at(f), n=f.count("backlog"))
    if f.has("sockets"):
        values = {"at": at(f), "sockets": f.count("sockets"), "n": f.count("backlog")}
        backlog = tr("of the {sockets} sockets of {at}, the shortest has a backlog of {n:,}", **values)
    if f.has("ListenOverflows"):
        drops = tr(
            "{n:,} drops at {at}: bursts longer than the queue, or a program that stalls", n=f.count("drops"), at=at(f)
        )
        text = tr("{overflowed}: {backlog}", overflowed=_overflowed(f), backlog=backlog)
        return text, listed([drops, _cookies(f), _enough(f)])
    text = tr("a queue is too short for honest bursts; the shortest: {backlog}", backlog=backlog)
    return text, listed([_cookies_back(f), _enough(f)])


def _enough(f: Finding) -> str:
    """The backlog that would have held what came between the looks, and how many handshakes are under way."""
    if not f.has("backlog_needed"):
        return ""
    text = tr("a backlog of {n:,} would have held what came just now", n=f.count("backlog_needed"))
    if not f.has("under_way"):
        return text
    values = {"rate": per_s(f, "arrivals_per_s"), "time": lasted(f.number("handshake_s"))}
    on_average = f.number("under_way")
    average = f"{on_average:,.0f}" if on_average >= 10 else f"{on_average:.1f}"
    return tr(
        "{text}: {rate} arrive and take {time} each, {average} at a time on average",
        text=text,
        average=average,
        **values,
    )


def _cookies_back(f: Finding) -> str:
    return tr_n(
        "{n:,} SYN cookie was sent since the namespace was made{now}, and {back:,} came back",
        "{n:,} SYN cookies were sent since the namespace was made{now}, and {back:,} came back",
        f.count("SyncookiesSent"),
        now=_now(f, "SyncookiesSent_per_s"),
        back=f.count("SyncookiesRecv"),
    )


def _cookies(f: Finding) -> str:
    if not f.has("SyncookiesSent"):
        return ""
    return tr_n(
        "a SYN queue overflowed as well: {n:,} SYN cookie sent{now}",
        "a SYN queue overflowed as well: {n:,} SYN cookies sent{now}",
        f.count("SyncookiesSent"),
        now=_now(f, "SyncookiesSent_per_s"),
    )


@lead("somaxconn-clamp")
def _somaxconn_clamp(f: Finding) -> tuple[str, str]:
    text = tr("somaxconn = {n:,} caps the queues of {at}", n=f.count("somaxconn"), at=at(f))
    if not f.has("capped"):
        return text, ""
    if others := f.count("capped") - 1:
        text = tr_n("{text} and of {n:,} other listener", "{text} and of {n:,} other listeners", others, text=text)
    counted = [_overflowed(f), _cookies(f)] if f.has("ListenOverflows") else [_cookies_back(f)]
    return tr("{text}, too short for honest bursts", text=text), listed([*counted, _enough(f)])


@lead("cookies-off")
def _cookies_off(f: Finding) -> tuple[str, str]:
    if f.has("syn_queue"):
        text = tr(
            "SYN cookies are off (tcp_syncookies = {n}): the SYN queue of {at} is full ({held}), and new SYNs are "
            "dropped",
            n=f.count("tcp_syncookies"),
            at=at(f),
            held=held(f, "syn_queue"),
        )
    else:
        text = tr(
            "SYN cookies are off (tcp_syncookies = {n}): a full queue turns clients away", n=f.count("tcp_syncookies")
        )
    dropped = f.count("dropped_syns")
    return text, tr_n("{n:,} SYN was dropped so far", "{n:,} SYNs were dropped so far", dropped) if dropped else ""


@sentence("syn-backlog-reserve")
def _syn_backlog_reserve(f: Finding) -> str:
    return tr(
        "with SYN cookies off, the last quarter of tcp_max_syn_backlog = {n:,} is kept back: {held} fill {at}",
        n=f.count("tcp_max_syn_backlog"),
        held=held(f, "syn_queue"),
        at=at(f),
    )


@sentence("timewait-reopen")
def _timewait_reopen(f: Finding) -> str:
    return tr(
        "the SYN queue of {at} holds more than its limit ({held}): SYNs that reopen connections in TIME_WAIT are "
        "admitted past the limit, unless the backlog was lowered meanwhile",
        at=at(f),
        held=held(f, "syn_queue"),
    )
