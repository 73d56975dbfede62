"""What `halfopen protect` says: the line at the beginning, one a second, and the summary; as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from halfopen.core.fields.guard import guard_counts
from halfopen.core.policy.actions import GuardWithheld, Protected, Withholding
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.sample.guard import FIRST_SYN, GuardCounts
from halfopen.core.units import endpoint_words
from halfopen.present.chosen_words import reworded, why_guarded
from halfopen.present.findings.words import lasted
from halfopen.present.guards import summary
from halfopen.present.language import cell_width, ended_at, tr, tr_n
from halfopen.present.told import told

SCHEMA: Final = "halfopen.protect/1"
_MOST_NAMED: Final = 3


def why_ended(ended: str) -> str:
    """Why a guard ended, in words."""
    return {
        "time": tr("its time was up"),
        "stopped": tr("it was stopped"),
        "futile": tr("its cookies came back, but hardly a connection came of them: a firewall drops their ACKs"),
        "cookies-off": tr("tcp_syncookies was set to 0: the kernel takes no cookie any more"),
    }[ended]


def why_taken_off(reason: str) -> str:
    """Why a policy took its guard off, in words."""
    return {
        "no policy asks for it any more": tr("no policy asks for it any more"),
        "the policy was changed": tr("the policy was changed"),
        "the incident is over": tr("the incident is over"),
        "the network namespace is gone": tr("the network namespace is gone"),
        "the watch ends": tr("the watch ends"),
    }.get(reason, reason)


def why_passed() -> dict[str, str]:
    """Why SYNs were left to the kernel, in words, by the names of PASSED."""
    return {
        "room": tr("the queue had room"),
        "not_listening": tr("no listener"),
        "other_listener": tr("a listener not guarded"),
        "foreign": tr("not an address of this host"),
        "mptcp": "MPTCP",
        "accept_queue_full": tr("the accept queue was full"),
        "signed": tr("MD5 or AO"),
        "broken": tr("broken options"),
        "failed": tr("not answered"),
        "stopped": tr("the guard had stopped answering"),
        "second": tr("the second of its client"),
    }


def begun(outcome: Protected) -> Iterator[str]:
    """The lines once the guard is armed, or at the end of a dry run."""
    what = named(outcome.guarded)
    share = f"{outcome.action.share:.0%}"
    when = tr("always") if not outcome.action.share else tr("while a SYN queue is {share} full or more", share=share)
    if outcome.dry_run:
        yield tr("{listeners} would be guarded, {when}; nothing was changed", listeners=what, when=when)
    else:
        for_s = outcome.action.for_s
        until = tr("until Ctrl-C") if for_s is None else tr("for {time}", time=lasted(for_s))
        if outcome.rung == FIRST_SYN:
            how = tr("the first SYN of each connection is dropped")
        else:
            how = tr("SYNs are answered without keeping state")
        yield tr("guarding {listeners} {until}: {how}, {when}", listeners=what, until=until, how=how, when=when)
    yield from map(told, outcome.notes)


def ending(seconds: float) -> str:
    """The line once the guard answers no SYN any more: its clients may finish for that long."""
    time = lasted(seconds)
    return tr("no SYN is answered any more; clients that were answered may finish for {time}", time=time)


def named(guarded: tuple[str, ...]) -> str:
    """Listeners in a few words."""
    some = ", ".join(guarded[:_MOST_NAMED])
    if len(guarded) <= _MOST_NAMED:
        return some
    return tr_n(
        "{some} and {n:,} more listener", "{some} and {n:,} more listeners", len(guarded) - _MOST_NAMED, some=some
    )


def guard_line(outcome: Protected) -> str:
    """What a watch says of a guard that its policy armed, or that is off again."""
    listeners = named(outcome.guarded)
    if not outcome.ended:
        return tr("guard armed for {listeners}: {reason}", listeners=listeners, reason=reworded(outcome.action.reason))
    return tr(
        "guard for {listeners} off after {time}, {why}: {counts}",
        listeners=listeners,
        time=lasted(round(outcome.seconds)),
        why=why_taken_off(outcome.why) if outcome.why else why_ended(outcome.ended),
        counts=summary(outcome.counts),
    )


def guard_withheld_line(action: GuardWithheld) -> str:
    """What a watch says of a guard that its policy does not arm."""
    listeners = named(tuple(map(endpoint_words, action.protect.listeners)))
    if action.why is Withholding.FORBIDDEN:
        return tr(
            "policy protect arms no guard for {listeners}: {cause} forbids it", listeners=listeners, cause=action.detail
        )
    return tr(
        "policy protect would arm a guard for {listeners} ({reason}); it only observes",
        listeners=listeners,
        reason=why_guarded(action.protect.reason),
    )


def header() -> str:
    """The line above those of seconds."""
    time_ = tr("TIME")
    titles = (
        (tr("SYNS/S"), 9),
        (tr("ANSWERED/S"), 10),
        (tr("LET IN/S"), 8),
        (tr("CONNECTED/S"), 11),
        (tr("US A SYN"), 8),
    )
    return "  ".join([time_ + " " * (8 - cell_width(time_)), *(ended_at(title, width) for title, width in titles)])


def line(reading: GuardReading) -> str:
    """The line of a second; its columns are those of `header`, and what a healthy flood does not show behind them."""
    counts, rate = reading.counts, reading.per_s
    when = time.strftime("%H:%M:%S", time.localtime(reading.wall_s))
    connected = "-" if reading.completions is None else f"{rate(reading.completions):,.0f}"
    each = "-" if counts.answer_ns is None else f"{counts.answer_ns / 1000:.2f}"
    words = f"{when}  {rate(counts.syns):>9,.0f}  {rate(counts.answered):>10,.0f}  {rate(counts.accepted):>8,.0f}"
    return "  ".join((f"{words}  {connected:>11}  {each:>8}", *_odd(counts)))


def _odd(counts: GuardCounts) -> list[str]:
    """What a healthy flood does not show."""
    shown = (
        (tr("forged ACKs about"), counts.bad),
        (tr("accept queue full"), counts.accept_full + counts.passed_for("accept_queue_full")),
        (tr("came again"), counts.again),
        (tr("capped"), counts.capped),
        (tr("refused"), counts.refused),
        (tr("first SYNs dropped"), counts.held),
    )
    return [f"{name} {n:,}" for name, n in shown if n]


def ended(outcome: Protected) -> Iterator[str]:
    """The summary."""
    counts = outcome.counts
    time_ = lasted(round(outcome.seconds))
    yield tr("the guard is off after {time}: {why}", time=time_, why=why_ended(outcome.ended))
    yield tr_n(
        "{n:,} SYN came to {listeners}: {answered:,} answered by the guard, {passed:,} left to the kernel{why}",
        "{n:,} SYNs came to {listeners}: {answered:,} answered by the guard, {passed:,} left to the kernel{why}",
        counts.syns,
        listeners=named(outcome.guarded),
        answered=counts.answered,
        passed=sum(counts.passed),
        why=_why(counts),
    )
    let_in = tr_n("{n:,} client let in by the guard", "{n:,} clients let in by the guard", counts.accepted)
    if outcome.completions is not None:
        let_in += tr("; {n:,} handshakes finished in all", n=outcome.completions)
    yield let_in
    odd = _odd(counts)
    if odd:
        yield tr(", ").join(odd)
    yield from map(told, outcome.problems)


def _why(counts: GuardCounts) -> str:
    reasons = sorted(((counts.passed_for(why), text) for why, text in why_passed().items()), reverse=True)
    told = [tr("{reason}: {n:,}", reason=text, n=n) for n, text in reasons if n]
    return tr(" ({reasons})", reasons=tr(", ").join(told)) if told else ""


def reading_document(reading: GuardReading) -> dict[str, Any]:
    """A reading as an object of `halfopen.protect/1`."""
    answer_ns = reading.counts.answer_ns
    return {
        "schema": SCHEMA,
        "event": "reading",
        "time": reading.wall_s,
        "seconds": round(reading.seconds, 3),
        "connected": reading.completions,
        "engaged": list(reading.engaged),
        "listeners": reading.guarded,
        "devices": reading.devices,
        "answer_s": None if answer_ns is None else round(answer_ns / 1e9, 12),
        "counts": guard_counts(reading.counts),
    }


def outcome_document(outcome: Protected, event: str) -> dict[str, Any]:
    """The beginning (`armed`), the end (`ended`) or the dry run (`dry_run`) as an object of `halfopen.protect/1`."""
    return {
        "schema": SCHEMA,
        "event": event,
        "netns": outcome.action.netns,
        "guarded": list(outcome.guarded),
        "share": outcome.action.share,
        "rung": outcome.rung,
        "for_s": outcome.action.for_s,
        "ended": outcome.ended or None,
        "seconds": round(outcome.seconds, 3),
        "connected": outcome.completions,
        "counts": guard_counts(outcome.counts),
        "problems": list(outcome.problems),
        "notes": list(outcome.notes),
    }
