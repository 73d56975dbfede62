"""The sentences of a notice: its title, and the message as a person reads it in a chat or a mail."""

from __future__ import annotations

import time
from collections.abc import Iterator

from msgspec import Struct

from halfopen.core.findings.finding import Finding
from halfopen.core.notice import NoticeState
from halfopen.core.policy.alarms import Alarm, Rising
from halfopen.core.policy.incidents import Incident, ReleasesMade
from halfopen.core.policy.readings import subject_text
from halfopen.core.units import printable
from halfopen.present.alarm_words import because, ended, sign, still, title
from halfopen.present.chosen_words import rephrased
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import lasted
from halfopen.present.language import listed, spoken, tr, tr_n


class ToldIncident(Struct, frozen=True):
    """What there is to tell of an incident at a moment, on a host. sign: the first one, or the one that decided; None:
    it was not seen. waiting: how many are half-open. finding: what explains it, cures: commands that may help.
    """

    state: NoticeState
    host: str
    incident: Incident
    sign: Rising | Alarm | None
    at_s: float
    waiting: int
    finding: Finding | None = None
    cures: tuple[str, ...] = ()


class NoticeTexts(Struct, frozen=True):
    """The texts of a notice, as `core.notice.Notice` has them: log and actions in English, whatever is spoken."""

    title: str
    log: str
    summary: str
    text: tuple[str, ...]
    actions: tuple[str, ...]


def texts(told: ToldIncident) -> NoticeTexts:
    """Everything there is to say, in the language that the operator prefers."""
    log, actions = _title(told), releases(told.incident)
    with spoken():
        summary = _cause(told.incident) if told.state is NoticeState.RESOLVED else _explanation(told)
        return NoticeTexts(_title(told), log, summary, tuple(_message(told, summary)), actions)


def _title(told: ToldIncident) -> str:
    """One line: the state, where, and what it is about."""
    one = told.incident
    if told.state is not NoticeState.RESOLVED:
        word = tr("RISING") if told.state is NoticeState.RISING else tr("ALARM")
        told_of = _cause(one) if one.about_connections else listed([_cause(one), _sign(told)])
        return f"{word} {_place(told)}{tr(': ')}{told_of}"
    head = f"{tr('CLEAR')} {_place(told)}{tr(': ')}"
    if one.alarm_s is None:
        return head + tr("it passed after {time}, no alarm", time=lasted(round(max(0.0, one.lasted_s))))
    if one.gone == "namespace":
        now = tr("the network namespace {name} is gone", name=printable(one.where.name))
    else:
        now = still(told.waiting, connections=one.about_connections, gone=one.gone)
    return head + ended(now, one.lasted_s, one.peak.most)


def _cause(incident: Incident) -> str:
    """The cause in a few words; "" where none is known."""
    return title(incident.cause)


def _explanation(told: ToldIncident) -> str:
    """The sentence that explains what happens now."""
    return "" if told.finding is None else say(told.finding)


def _sign(told: ToldIncident) -> str:
    match told.sign:
        case Rising():
            return sign(told.sign)
        case Alarm():
            return because(told.sign)
    return tr("more connections than usual are half-open")


def _place(told: ToldIncident) -> str:
    """Where: `web-1`, `web-1 :443`, `web-1 netns blue :443`."""
    where, listener = told.incident.where, subject_text(told.incident.listener)
    words = [told.host]
    if where.name != "self":
        words.append(f"netns {where.name}")
    return " ".join([*words, listener] if listener else words)


def releases(incident: Incident) -> tuple[str, ...]:
    """What came of the releases during an incident, by the filter: those that did something."""
    return tuple(_released(one) for one in incident.releases if one.released or one.failed)


def _released(made: ReleasesMade) -> str:
    count = tr_n("{n:,} half-open connection", "{n:,} half-open connections", made.released)
    text = tr("released {count} {filter}", count=count, filter=rephrased(made.filter))
    return text + (tr(", {n:,} failed", n=made.failed) if made.failed else "")


def _message(told: ToldIncident, summary: str) -> Iterator[str]:
    """The lines of the whole message below the title."""
    one, over = told.incident, told.state is NoticeState.RESOLVED
    if summary:
        yield tr("{sentence}.", sentence=f"{summary[0].upper()}{summary[1:]}")
    if not over:
        if one.about_connections:
            yield tr("Connections concerned: {n:,} now, {peak:,} at most.", n=told.waiting, peak=one.peak.most)
        elif told.waiting or one.peak.most:
            yield tr("Half-open: {n:,} now, {peak:,} at most.", n=told.waiting, peak=one.peak.most)
    yield tr("Began: {time}.", time=_clock(one.began_s))
    if over:
        yield tr("Ended: {time}.", time=_clock(told.at_s))
    for action in releases(one):
        yield tr("Done: {action}.", action=action)
    if not over:
        for cure in told.cures:
            yield tr("Next: {command}", command=cure)
    yield tr("Incident {id}", id=one.id)


def test_message(host: str) -> tuple[str, tuple[str, ...]]:
    """Title and lines of the message of `halfopen notify test`."""
    with spoken():
        title = f"{tr('TEST')} {host}{tr(': ')}{tr('this is a test, nothing is wrong')}"
        line = tr("`halfopen notify test` was run. Incidents of half-open connections will be told in this way.")
        return title, (line, tr("Sent: {time}.", time=_clock(time.time())))


def _clock(wall_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(wall_s))
