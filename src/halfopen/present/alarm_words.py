"""The words of an alarm: what decided on it, its first sign, and the finding that explains it."""

from __future__ import annotations

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.alarms import Alarm, Rising
from halfopen.core.policy.counts import CONNECTIONS, Subject
from halfopen.core.policy.detection import Because
from halfopen.core.policy.look import Look
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.findings.words import lasted
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
            return tr("connections are not closed, or cannot be opened")
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
            return tr("the accept queue was full for a moment")
        case Because.VERDICT.value:
            return tr("the verdict was critical for a moment")
    return tr("{n:,} half-open: more than the traffic explains", n=action.half_open)


def still(n: int, *, connections: bool, gone: str = "") -> str:
    """What there is at the end of an alarm: of half-open connections, or (connections) of open and closing ones."""
    if connections:
        return tr("connections are closed and opened as usual again")
    return tr("nothing listens any more") if gone else tr("{n:,} half-open", n=n)


def ended(now: str, seconds: float, peak: int) -> str:
    """How an alarm ended: as it is now, after so long, with a peak where anything was half-open."""
    time = lasted(round(max(0.0, seconds)))
    if not peak:
        return tr("{now}, after {time}", now=now, time=time)
    return tr("{now}, after {time} with a peak of {peak:,}", now=now, time=time, peak=peak)


def explaining(verdict: Verdict, cause: str, subject: Subject) -> Finding | None:
    """The finding that is the cause of a subject's trouble, else the worst one that is trouble: of the subject itself,
    else of the whole namespace; None where there is none. Trouble of the namespace is explained by any.
    """
    mine = [f for f in verdict.findings if not _of_another(f, subject)]
    mine.sort(key=lambda f: f.listener is None)
    named = [f for f in mine if f.id == cause]
    return next(iter([*named, *(f for f in mine if f.level > Level.OK)]), None)


def proposed(verdict: Verdict, finding: Finding | None, subject: Subject, netns: str) -> list[str]:
    """The commands that may help a subject, the best first: those of the finding that explains its trouble, else those
    that are not for another listener; never empty. Whoever is told is on watch already.
    """
    possible = [line for line in next_commands(verdict) if not line.startswith("halfopen watch")]
    own = [] if finding is None else [line for line in map(command, finding.cures) if line in possible]
    theirs = {command(cure) for f in verdict.findings if _of_another(f, subject) for cure in f.cures}
    return own or [line for line in possible if line not in theirs] or [command((Look(netns, "diagnose", "alarm"),))]


def _of_another(finding: Finding, subject: Subject) -> bool:
    if subject is None or subject == CONNECTIONS:
        return False
    return finding.listener is not None and finding.listener.key != subject
