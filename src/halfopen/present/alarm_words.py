"""The words of an alarm: what decided on it, its first sign, and the finding that explains it."""

from __future__ import annotations

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.alarms import Alarm, Rising
from halfopen.core.policy.detection import Because
from halfopen.present.language import listed, tr


def decided(because: str) -> str:
    """The sign that decided (`Because`), in words; "" where the numbers did."""
    match because:
        case Because.DROPS.value:
            return tr("clients are turned away")
        case Because.COOKIES.value:
            return tr("the SYN queue overflows: SYNs are answered by cookies")
        case Because.ACCEPT_QUEUE.value:
            return tr("the accept queue is full")
        case Because.SYN_QUEUE.value:
            return tr("the SYN queue is full")
        case Because.VERDICT.value:
            return tr("clients do not get in")
        case Because.CONNECTIONS.value:
            return tr("connections are not let go, or cannot be made")
    return ""


def because(action: Alarm) -> str:
    """What decided on an alarm, with the numbers."""
    if action.because == Because.CONNECTIONS.value:
        return title(action.cause) or decided(action.because)
    counted = tr("{n:,} of {all:,} arrivals unanswered", n=action.unanswered, all=action.arrivals)
    if words := decided(action.because):
        return listed([words, counted if action.unanswered else ""])
    return tr(
        "{counted}, usually {usual:,.0f} (alarm at {limit:,.0f})",
        counted=counted,
        usual=action.usual,
        limit=action.limit,
    )


def title(cause: str) -> str:
    """A cause in a few words; "" where none is known."""
    rule = RULES.get(cause)
    return "" if rule is None or rule.fallback else tr(rule.title)


def sign(action: Rising) -> str:
    """The first sign of what may become an alarm."""
    match action.because:
        case Because.DROPS.value:
            return tr("a client was turned away")
        case Because.ACCEPT_QUEUE.value:
            return tr("the accept queue is full for a moment")
        case Because.VERDICT.value:
            return tr("the verdict is critical for a moment")
    return tr("{n:,} half-open: more than the traffic explains", n=action.half_open)


def still(n: int, *, connections: bool, gone: str = "") -> str:
    """What there is at the end of an alarm: of half-open connections, or (connections) of open and closing ones."""
    if connections:
        return tr("connections are let go again")
    return tr("nothing listens any more") if gone else tr("{n:,} half-open", n=n)


def explaining(verdict: Verdict, cause: str) -> Finding | None:
    """The finding that is the cause, else the worst one that is trouble."""
    named = [f for f in verdict.findings if f.id == cause]
    return next(iter([*named, *(f for f in verdict.findings if f.level > Level.OK)]), None)
