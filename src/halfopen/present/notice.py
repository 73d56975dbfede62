"""The sentences of a notice: its title, and the message as a person reads it in a chat or a mail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from halfopen.core.findings.finding import Finding
from halfopen.core.notice import NoticeState
from halfopen.core.policy.incidents import Incident, ReleasesMade
from halfopen.core.policy.readings import subject_text
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
    """What there is to tell of an incident at a moment, on a host. what: the sign that decided, in words; waiting: how
    many are half-open.
    """

    state: NoticeState
    host: str
    incident: Incident
    what: str
    at_s: float
    waiting: int


def title(told: ToldIncident) -> str:
    """One line: the state, where, and what it is about."""
    one = told.incident
    head = f"{_WORDS[told.state]} {_place(told)}: "
    if told.state is not NoticeState.RESOLVED:
        return head + (told.what or "more connections than usual are half-open")
    lasted = show_duration(round(max(0.0, one.lasted_s)))
    if one.alarm_s is None:
        return f"{head}it passed after {lasted}, no alarm"
    if one.gone:
        what = "the network namespace is gone" if one.gone == "namespace" else "nothing listens any more"
    else:
        what = f"{told.waiting:,} half-open"
    return f"{head}{what}, after {lasted} with a peak of {one.peak.half_open:,}"


def _place(told: ToldIncident) -> str:
    """Where: `web-1`, `web-1 :443`, `web-1 netns blue :443`."""
    where, listener = told.incident.where, subject_text(told.incident.listener)
    words = [told.host]
    if where.name != "self":
        words.append(f"netns {where.name}")
    return " ".join([*words, listener] if listener else words)


def summary(finding: Finding | None) -> str:
    """The sentence that explains an incident; empty where nothing does."""
    return "" if finding is None else say(finding)


def releases(incident: Incident) -> tuple[str, ...]:
    """What came of the releases during an incident, by the filter: those that did something."""
    return tuple(_released(one) for one in incident.releases if one.released or one.failed)


def _released(made: ReleasesMade) -> str:
    text = f"released {plural(made.released, 'half-open connection')} {made.filter}".rstrip()
    return text + (f", {made.failed:,} failed" if made.failed else "")


def message(told: ToldIncident, explained: str, cures: tuple[str, ...], actions: tuple[str, ...]) -> tuple[str, ...]:
    """The whole message below the title, in lines."""
    return tuple(_message(told, explained, cures, actions))


def _message(told: ToldIncident, explained: str, cures: tuple[str, ...], actions: tuple[str, ...]) -> Iterator[str]:
    over = told.state is NoticeState.RESOLVED
    if explained:
        yield f"{explained[0].upper()}{explained[1:]}."
    if not over:
        yield f"Half-open: {told.waiting:,} now, {told.incident.peak.half_open:,} at most."
    yield f"Began: {_clock(told.incident.began_s)}."
    if over:
        yield f"Ended: {_clock(told.at_s)}."
    for action in actions:
        yield f"Done: {action}."
    if not over:
        for cure in cures:
            yield f"Next: {cure}"
    yield f"Incident {told.incident.id}"


def test_message(host: str) -> tuple[str, tuple[str, ...]]:
    """Title and lines of the message of `halfopen notify test`."""
    title_line = f"TEST {host}: this is a test, nothing is wrong"
    line = "A test message: `halfopen notify test` was run. Incidents of half-open connections will look like this."
    return title_line, (line, f"Sent: {_clock(time.time())}.")


def _clock(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(wall_s))
