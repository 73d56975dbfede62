"""The words of an alarm: what decided on it, its first sign, and the finding that explains it."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.alarms import Alarm, Rising
from halfopen.core.policy.detection import Because

_BECAUSE: Final = {
    Because.DROPS.value: "clients are turned away",
    Because.COOKIES.value: "the SYN queue overflows: SYNs are answered by cookies",
    Because.ACCEPT_QUEUE.value: "the accept queue is full",
    Because.SYN_QUEUE.value: "the SYN queue is full",
    Because.VERDICT.value: "clients do not get in",
}
_SIGNS: Final = {
    Because.DROPS.value: "a client was turned away",
    Because.ACCEPT_QUEUE.value: "the accept queue is full for a moment",
    Because.VERDICT.value: "the verdict is critical for a moment",
}


def because(action: Alarm) -> str:
    """What decided on an alarm, with the numbers."""
    counted = f"{action.unanswered:,} of {action.arrivals:,} arrivals unanswered"
    if action.because in _BECAUSE:
        return f"{_BECAUSE[action.because]}; {counted}" if action.unanswered else _BECAUSE[action.because]
    return f"{counted}, usually {action.usual:,.0f} (alarm at {action.limit:,.0f})"


def sign(action: Rising) -> str:
    """The first sign of what may become an alarm."""
    return _SIGNS.get(action.because, f"{action.half_open:,} half-open: more than the traffic explains")


def explaining(verdict: Verdict, cause: str) -> Finding | None:
    """The finding that is the cause, else the worst one that is trouble."""
    named = [f for f in verdict.findings if f.id == cause]
    return next(iter([*named, *(f for f in verdict.findings if f.level > Level.OK)]), None)
