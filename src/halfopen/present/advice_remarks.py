"""Output of `advise`: on what the advice about a listener rests, and the length of its queues."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.advice import choices
from halfopen.core.advice.advice import AdviceGiven, ListenerAdvice
from halfopen.core.advice.room import Room
from halfopen.core.fields.advice import one_in
from halfopen.core.model import timing
from halfopen.present.findings.words import lasted, timed
from halfopen.present.language import tr, tr_n
from halfopen.present.told import told
from halfopen.present.told_cells import told_share


def ago(seconds: float) -> str:
    """How long before the end of the look."""
    return tr("{time} before the end", time=lasted(round(seconds, 1)))


def share_words(share: float) -> str:
    """A share of clients: `1 in 1,003`."""
    return told_share(one_in(share))


def remarks(one: ListenerAdvice, given: AdviceGiven) -> Iterator[str]:
    """The remarks about a listener, a line each."""
    if one.finished:
        yield _rests(one)
    yield _censored(one, given)
    if one.seen.opened_s is not None:
        yield tr("the listener was opened {opened_s}: its drops count since then", opened_s=ago(one.seen.opened_s))
    if one.silent:
        yield (
            tr(
                "probably {silent}, by its port or program: the server speaks first then, so a client that is "
                "lost hangs and sees no error; {tolerated_silent} is required here, not {tolerated}",
                silent=told(one.silent),
                tolerated_silent=share_words(choices.TOLERATED_SILENT),
                tolerated=share_words(choices.TOLERATED),
            )
        )
    under_way = _under_way(one)
    yield _queue(tr("SYN queue"), one.syn_queue, by_rate=under_way)
    if one.seen.unanswered_per_s and given.settings.get("tcp_syncookies"):
        more = _more(given)
        yield tr(
            "unanswered connections need no room: SYN cookies let clients in while the queue is full{more}",
            more=more,
        )
    wait = (
        ""
        if not one.accept_wait_s
        else tr(" (a connection waits {time} to be accepted)", time=timed(one.accept_wait_s))
    )
    yield _queue(tr("accept queue"), one.accept_queue, wait)


def _rests(one: ListenerAdvice) -> str:
    rests = one.seen.rests
    if rests is None:
        return tr("sources were not counted: handshakes of a few clients prove less than the table says")
    count = tr("which counts") if rests.prefixes == 1 else tr("which count")
    # The sources are counted for a moment longer.
    independent = tr_n(
        "{n:,} independent handshake", "{n:,} independent handshakes", min(rests.independent, one.finished)
    )
    return tr(
        "rests on {prefixes}, {count} as {independent} (at most {most_of_one} of one prefix)",
        prefixes=tr_n("{n:,} source prefix", "{n:,} source prefixes", rests.prefixes),
        count=count,
        independent=independent,
        most_of_one=choices.MOST_OF_ONE,
    )


def _censored(one: ListenerAdvice, given: AdviceGiven) -> str:
    after = lasted(timing.release_time_s(one.seen.view.retries, one.seen.rto_max_s))
    text = tr(
        "the kernel gives up after {after} here, so clients that need longer are lost already and not "
        "seen: the table counts further losses alone",
        after=after,
    )
    if one.pruned_s:
        sooner = lasted(timing.release_time_s(one.in_force, one.seen.rto_max_s))
        text += tr(
            "; for {time}, with the queue more than half full, it gave up after {sooner}",
            time=lasted(round(one.pruned_s, 1)),
            sooner=sooner,
        )
    if given.released:
        text += tr("; halfopen released {released:,} meanwhile, which may have been clients", released=given.released)
    return text


def _more(given: AdviceGiven) -> str:
    """The flood that no queue shows."""
    if given.unanswered_cookies_per_s < 1:
        return ""
    return tr(
        "; in the whole namespace, {unanswered_cookies_per_s} more got a cookie and did not send it back",
        unanswered_cookies_per_s=_rate(given.unanswered_cookies_per_s),
    )


def _under_way(one: ListenerAdvice) -> str:
    """The parts of the length of the SYN queue."""
    shakes = one.seen.handshakes
    parts = []
    if one.finished:
        parts.append(
            tr(
                "{more} x {time} a handshake",
                more=_rate(shakes.per_s(one.finished) or 0.0),
                time=timed(shakes.times.mean_s),
            )
        )
    if one.seen.unanswered_per_s:
        now = lasted(one.given_up_s)
        parts.append(
            tr(
                "{unanswered_per_s} admitted and never answered x {now}",
                unanswered_per_s=_rate(one.seen.unanswered_per_s),
                now=now,
            )
        )
    return " + ".join(parts)


def _rate(per_s: float) -> str:
    return tr("{rate}/s", rate=f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}")


def _length(length: float) -> str:
    return f"{length:,.0f}" if length >= 10 or length == 0 else f"{length:.1g}"


def _queue(name: str, queue: Room, why: str = "", *, by_rate: str = "") -> str:
    by_time = by_rate and tr(" on average, by rate x time ({under_way})", under_way=by_rate)
    text = tr(
        "{name}: {length}{usual}, at most {peak:,} seen at once",
        name=name,
        length=_length(queue.length),
        usual=by_time or tr(" on average{why}", why=why),
        peak=queue.peak,
    )
    if queue.limit is not None:
        # A SYN queue takes one more than its limit, for a moment.
        text += tr(", of {limit:,}", limit=max(queue.limit, queue.peak))
    if queue.unexplained:
        text = tr(
            "{text}; in truth {mean} waited on average: most of them began before this look, or their clients had "
            "answered",
            text=text,
            mean=_length(queue.mean or 0.0),
        )
    if queue.full_in_s == 0:
        return tr("{text}; it is full", text=text)
    if queue.full_in_s is not None:
        return tr("{text}; at the present growth it will be full in {time}", text=text, time=lasted(queue.full_in_s))
    if queue.levels_off is not None:
        return tr("{text}; it grows and levels off at {levels_off:,}", text=text, levels_off=queue.levels_off)
    return text
