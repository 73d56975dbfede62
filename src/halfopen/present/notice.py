"""The sentences of a notice: its title, and the message as a person reads it in a chat or a mail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from halfopen.core.findings.finding import Finding
from halfopen.core.notice import NoticeState
from halfopen.core.policy.actions import Released
from halfopen.core.units import plural, show_duration
from halfopen.present.findings.sentences import say

_WORDS: Final = {
    NoticeState.RISING: "RISING",
    NoticeState.FIRING: "ALARM",
    NoticeState.UPDATED: "ALARM",
    NoticeState.RESOLVED: "CLEAR",
}


@dataclass(frozen=True, slots=True)
class ToldIncident:
    """What there is to tell of an incident. what: the sign that decided, in words; gone: the "listener" or "namespace"
    that is not there any more; alarmed, waiting, … as in `core.notice.Notice`.
    """

    state: NoticeState
    host: str
    netns: str
    listener: str
    alarmed: bool
    what: str
    began_s: float
    at_s: float
    waiting: int
    peak: int
    gone: str = ""


def place(told: ToldIncident) -> str:
    """Where: `web-1`, `web-1 :443`, `web-1 netns blue :443`."""
    words = [told.host]
    if told.netns != "self":
        words.append(f"netns {told.netns}")
    return " ".join([*words, told.listener] if told.listener else words)


def title(told: ToldIncident) -> str:
    """One line: the state, where, and what it is about."""
    head = f"{_WORDS[told.state]} {place(told)}: "
    if told.state is not NoticeState.RESOLVED:
        return head + told.what
    lasted = show_duration(round(max(0.0, told.at_s - told.began_s)))
    if not told.alarmed:
        return f"{head}it passed after {lasted}, no alarm"
    if told.gone:
        what = "the network namespace is gone" if told.gone == "namespace" else "nothing listens any more"
    else:
        what = f"{told.waiting:,} half-open"
    return f"{head}{what}, after {lasted} with a peak of {told.peak:,}"


def summary(finding: Finding | None) -> str:
    """The sentence that explains an incident; empty where nothing does."""
    return "" if finding is None else say(finding)


def released(outcome: Released) -> str:
    """The outcome of a release, as one line."""
    text = f"{'would release' if outcome.dry_run else 'released'} {plural(outcome.released, 'half-open connection')}"
    if outcome.action.filter.describe():
        text += f" {outcome.action.filter.describe()}"
    if outcome.failed:
        text += f", {outcome.failed:,} failed"
    if outcome.resets:
        text += f", {plural(outcome.resets, 'RST')} sent meanwhile"
    return text


def message(
    told: ToldIncident, explained: str, cures: tuple[str, ...], actions: tuple[str, ...], incident: str
) -> tuple[str, ...]:
    """The whole message below the title, in lines."""
    return tuple(_message(told, explained, cures, actions, incident))


def _message(
    told: ToldIncident, explained: str, cures: tuple[str, ...], actions: tuple[str, ...], incident: str
) -> Iterator[str]:
    if explained:
        yield f"{explained[0].upper()}{explained[1:]}."
    if told.state is not NoticeState.RESOLVED:
        yield f"Half-open: {told.waiting:,} now, {told.peak:,} at most."
    yield f"Began: {_clock(told.began_s)}."
    if told.state is NoticeState.RESOLVED:
        yield f"Ended: {_clock(told.at_s)}."
    for action in actions:
        yield f"Done: {action}."
    if told.state is not NoticeState.RESOLVED:
        for cure in cures:
            yield f"Next: {cure}"
    yield f"Incident {incident}"


def _clock(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(wall_s))
