"""What `halfopen protect` says: the line at the beginning, one a second, and the summary; as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from halfopen.core.fields.guard import guard_counts
from halfopen.core.policy.actions import Protected
from halfopen.core.policy.guarding import GuardReading
from halfopen.core.sample.guard import GuardCounts
from halfopen.core.units import plural, show_duration

SCHEMA: Final = "halfopen.protect/1"
_ENDED: Final = {
    "time": "its time was up",
    "stopped": "it was stopped",
    "futile": "its cookies came back, but hardly a connection came of them: a firewall drops their ACKs",
    "cookies-off": "tcp_syncookies was set to 0: the kernel takes no cookie any more",
}
_WHY_PASSED: Final = {
    "room": "the queue had room",
    "not_listening": "no listener",
    "other_listener": "a listener not guarded",
    "foreign": "not an address of this host",
    "mptcp": "MPTCP",
    "accept_queue_full": "the accept queue was full",
    "signed": "MD5 or AO",
    "broken": "broken options",
    "failed": "not answered",
    "stopped": "the guard had stopped",
}
_MOST_NAMED: Final = 3


def begun(outcome: Protected) -> Iterator[str]:
    """The lines once the guard is armed, or at the end of a dry run."""
    what = named(outcome.guarded)
    share = f"{outcome.action.share:.0%}"
    when = "always" if not outcome.action.share else f"while a SYN queue is {share} full or more"
    if outcome.dry_run:
        yield f"{what} would be guarded, {when}; nothing was changed"
    else:
        for_s = outcome.action.for_s
        until = "until Ctrl-C" if for_s is None else f"for {show_duration(for_s)}"
        yield f"guarding {what} {until}: SYNs are answered without keeping state, {when}"
    yield from outcome.notes


def named(guarded: tuple[str, ...]) -> str:
    """Listeners in a few words."""
    if len(guarded) <= _MOST_NAMED:
        return ", ".join(guarded)
    return f"{', '.join(guarded[:_MOST_NAMED])} and {plural(len(guarded) - _MOST_NAMED, 'more listener')}"


def header() -> str:
    """The line above those of seconds."""
    return f"{'TIME':8}  {'SYNS/S':>9}  {'ANSWERED/S':>10}  {'LET IN/S':>8}  {'CONNECTED/S':>11}  {'US A SYN':>8}"


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
        ("forged ACKs about", counts.bad),
        ("accept queue full", counts.accept_full + counts.passed_for("accept_queue_full")),
        ("came again", counts.again),
        ("capped", counts.capped),
        ("refused", counts.refused),
    )
    return [f"{name} {n:,}" for name, n in shown if n]


def ended(outcome: Protected) -> Iterator[str]:
    """The summary."""
    counts = outcome.counts
    yield f"the guard is off after {show_duration(round(outcome.seconds))}: {_ENDED[outcome.ended]}"
    yield (
        f"{plural(counts.syns, 'SYN')} came to {named(outcome.guarded)}: {counts.answered:,} answered by the guard, "
        f"{sum(counts.passed):,} left to the kernel{_why(counts)}"
    )
    completed = "" if outcome.completions is None else f"; {outcome.completions:,} handshakes finished in all"
    yield f"{plural(counts.accepted, 'client')} let in by the guard{completed}"
    odd = _odd(counts)
    if odd:
        yield ", ".join(odd)
    yield from outcome.problems


def _why(counts: GuardCounts) -> str:
    reasons = sorted(((counts.passed_for(why), text) for why, text in _WHY_PASSED.items()), reverse=True)
    told = [f"{text} {n:,}" for n, text in reasons if n]
    return f" ({', '.join(told)})" if told else ""


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
        "for_s": outcome.action.for_s,
        "ended": outcome.ended or None,
        "seconds": round(outcome.seconds, 3),
        "connected": outcome.completions,
        "counts": guard_counts(outcome.counts),
        "problems": list(outcome.problems),
        "notes": list(outcome.notes),
    }
