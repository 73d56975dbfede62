"""The lines of `watch` for a person: one when something changed."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import assert_never

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import GuardWithheld, Protected, Released, Withheld
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import CONNECTIONS, Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.readings import subject_text
from halfopen.core.reports import (
    Begun,
    Decided,
    Did,
    Ended,
    Glance,
    Guarding,
    Noticed,
    Reading,
    Reloaded,
    Report,
    Round,
    TakenUp,
    Trouble,
)
from halfopen.core.units import printable
from halfopen.core.where import Namespace
from halfopen.present import commands
from halfopen.present.alarm_words import because, ended, explaining, proposed, sign, still
from halfopen.present.chosen_words import chosen, rephrased
from halfopen.present.findings.sentences import listener_name, say
from halfopen.present.findings.words import lasted
from halfopen.present.language import spoken, tr, tr_n, wrapped
from halfopen.present.protect import guard_line, guard_withheld_line
from halfopen.present.told import told
from halfopen.present.withheld import decided_by, withheld_words

# Under the text, beside the time.
_INDENT = " " * 10
_RED, _GREEN, _YELLOW, _RESET = "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


def _clock(wall_s: float | None = None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_s))


def _more(model: Model) -> list[str]:
    """What a reading tells beside the number of half-open connections."""
    parts = []
    if model.half_open and not model.sample.depths:
        oldest = lasted(round(model.oldest_s, 1))
        parts.append(tr("oldest {time}, new {n:,}/s", time=oldest, n=model.arrivals_per_s))
    if model.half_open or model.deferred:
        fullest = max(model.listeners, key=lambda v: v.fill or 0.0, default=None)
        if fullest is not None and fullest.syn_queue_cap and fullest.held:
            share = f"{min(1.0, fullest.held / fullest.syn_queue_cap):.0%}"
            parts.append(tr("{at} {share} full", at=listener_name(fullest), share=share))
    if model.may_have_answered:
        parts.append(tr("{n:,} may have answered", n=model.may_have_answered))
    answered = sum(view.deferred for view in model.listeners if view.defers is False)
    if answered:
        parts.append(tr("{n:,} answered (no room)", n=answered))
    if model.deferred > answered:
        parts.append(tr("{n:,} deferred", n=model.deferred - answered))
    return parts


class Lines(ABC):
    """The sink of a watch that prints what is reported, as lines on standard output."""

    def take(self, event: Report) -> None:
        """Print what there is to say of it."""
        for line in self.lines(event):
            print(line, flush=True)

    def lines(self, event: Report) -> list[str]:
        """The lines for a report."""
        match event:  # the most frequent ones first
            case Reading():
                return self.reading(event.model)
            case Round():
                return self.round(event.watched)
            case Begun():
                return self.begin(event.interval_s, event.policy)
            case TakenUp():
                return [line for one in event.incidents for line in self.taken_up(event.model, one)]
            case Glance():
                return []
            case Decided(model, action, verdict):
                return self.told(model, action, verdict)
            case Did():
                return self.released(event.outcome)
            case Noticed():
                return self.withheld(event.model, event.action)
            case Guarding(news):
                return self.guarded(news) if isinstance(news, Protected) else self.guard_withheld(news)
            case Trouble():
                return self.trouble(event.about, event.error)
            case Reloaded():
                return self.reloaded(event)
            case Ended():
                return self.end(event.readings)
        assert_never(event)

    def told(self, model: Model, action: Telling, verdict: Verdict | None) -> list[str]:
        """What there is to say of an alarm."""
        match action:
            case Rising():
                return self.rising(model, action)
            case Passed():
                return self.passed(model, action)
            case Alarm():
                return self.alarm(model, action, verdict)
            case CauseChanged():
                return self.cause(model, action, verdict)
            case Clear():
                return self.clear(model, action)
        assert_never(action)

    @abstractmethod
    def begin(self, interval_s: float, policy: Policy) -> list[str]: ...
    @abstractmethod
    def taken_up(self, model: Model, one: Incident) -> list[str]: ...
    @abstractmethod
    def reading(self, model: Model) -> list[str]: ...
    @abstractmethod
    def rising(self, model: Model, action: Rising) -> list[str]: ...
    @abstractmethod
    def passed(self, model: Model, action: Passed) -> list[str]: ...
    @abstractmethod
    def alarm(self, model: Model, action: Alarm, verdict: Verdict | None) -> list[str]: ...
    @abstractmethod
    def cause(self, model: Model, action: CauseChanged, verdict: Verdict | None) -> list[str]: ...
    @abstractmethod
    def clear(self, model: Model, action: Clear) -> list[str]: ...
    @abstractmethod
    def released(self, outcome: Released, wall_s: float | None = None) -> list[str]: ...
    @abstractmethod
    def withheld(self, model: Model, action: Withheld) -> list[str]: ...
    @abstractmethod
    def guarded(self, outcome: Protected) -> list[str]: ...
    @abstractmethod
    def guard_withheld(self, action: GuardWithheld) -> list[str]: ...
    @abstractmethod
    def trouble(self, netns: str, error: HalfopenError) -> list[str]: ...
    @abstractmethod
    def reloaded(self, event: Reloaded) -> list[str]: ...
    @abstractmethod
    def end(self, readings: int) -> list[str]: ...

    def round(self, watched: Collection[Namespace]) -> list[str]:
        """No line."""
        return []


class TextLines(Lines):
    """For a person. `colour` on a terminal; `every` reading, or only changes; `several` namespaces are watched; `width`
    of the terminal, None where there is none.
    """

    def __init__(self, colour: bool, every: bool = False, several: bool = False, width: int | None = None) -> None:
        self.colour, self.every, self.several, self.width = colour, every, several, width
        self._last: dict[Namespace, tuple[tuple[int, ...], tuple[ListenerView, ...]]] = {}
        self._peak = 0

    def _paint(self, colour: str, line: str) -> str:
        return f"{colour}{line}{_RESET}" if self.colour and not os.environ.get("NO_COLOR") else line

    def _where(self, where: Namespace) -> str:
        return f"[{printable(where.name)}] " if self.several else ""

    def _filled(self, line: str) -> list[str]:
        """The line, in several where the terminal is narrower: broken between words."""
        return [line] if self.width is None else wrapped(line, self.width, _INDENT)

    def lines(self, event: Report) -> list[str]:
        """The lines for a report, in the language of the reader."""
        if isinstance(event, Round):
            return self.round(event.watched)  # without words
        with spoken():
            return Lines.lines(self, event)

    def begin(self, interval_s: float, policy: Policy) -> list[str]:
        """The watched connections, the interval, and the policies."""
        asked = self._request(interval_s, policy)
        text = tr("watching {asked}; a line when something changes, Ctrl-C ends it", asked=asked)
        return [*self._filled(f"{_clock()}  {text}"), *self._policies(policy)]

    def _request(self, interval_s: float, policy: Policy) -> str:
        every = lasted(interval_s)
        if policy.watched.empty:
            words = tr("every {time}", time=every)
        else:
            words = tr("connections {chosen} every {time}", chosen=chosen(policy.watched), time=every)
        for one in policy.releases:
            words += "" if one.name else tr(", releasing those {chosen}", chosen=rephrased(one.describe()))
        return words

    def _policies(self, policy: Policy) -> list[str]:
        """A line for each policy that has a name."""
        lines = []
        for one in policy.releases:
            does = tr("releases") if one.acts else tr("only observes")
            said = tr("policy {name} {does}: {chosen}", name=one.name, does=does, chosen=rephrased(one.describe()))
            lines += self._filled(_INDENT + said) if one.name else []
        if policy.protect is not None:
            does = tr("arms a guard") if policy.protect.acts else tr("only observes")
            chosen_ones = rephrased(policy.protect.describe())
            lines += self._filled(
                _INDENT + tr("policy {name} {does}: {chosen}", name="protect", does=does, chosen=chosen_ones)
            )
        return lines

    def reloaded(self, event: Reloaded) -> list[str]:
        """The configuration that is in force from now on."""
        asked = self._request(event.interval_s, event.policy)
        line = f"{_clock()}  {tr('configuration reloaded: watching {asked}', asked=asked)}"
        if event.kept:
            line += tr("; changed, but in force only after a restart: {keys}", keys=", ".join(event.kept))
        return [*self._filled(line), *self._policies(event.policy)]

    def reading(self, model: Model) -> list[str]:
        """A line, when this reading differs from the last one of its namespace in more than age."""
        where = model.sample.where
        self._peak = max(self._peak, model.half_open)
        moved = model.rates or {}
        dropped = round(moved.get("ListenDrops", 0.0)), round(moved.get("SyncookiesSent", 0.0))
        last = self._last.get(where)
        # A thousand idle listeners are the very same at each reading.
        same = last is not None and last[1] is model.listeners
        accept = last[0][3] if last is not None and same else sum(v.accept_queue for v in model.listeners)
        now = (model.half_open, model.may_have_answered, model.deferred, accept, *dropped)
        self._last[where] = now, model.listeners
        if last is not None and now == last[0] and not self.every:
            return []
        if last is None and not any(now) and self.several and not self.every:
            return []
        grown = 0 if last is None else model.half_open - last[0][0]
        change = tr(" ({n})", n=f"{grown:+,}") if grown else ""
        parts = [tr("{n:,} half-open{change}", n=model.half_open, change=change), *_more(model)]
        if accept:
            parts.append(tr("{n:,} in accept queues", n=accept))
        if dropped[0]:
            parts.append(tr("{n:,} drops/s", n=dropped[0]))
        if dropped[1]:
            parts.append(tr("{n:,} SYN cookies/s", n=dropped[1]))
        return self._filled(f"{_clock(model.sample.wall_s)}  {self._where(where)}{tr(', ').join(parts)}")

    def taken_up(self, model: Model, one: Incident) -> list[str]:
        """An incident that an earlier watch did not see end."""
        word = tr("RISING") if one.alarm_s is None else tr("ALARM")
        line = self._head(model, word, one.where, one.listener)
        line += tr("going on since {time}, before this watch began", time=_clock(one.began_s))
        line += f": {one.cause}" if one.cause else ""
        painted = [self._paint(_RED, part) for part in self._filled(line)]
        return [*painted, _INDENT + tr("incident {id}", id=one.id)]

    def rising(self, model: Model, action: Rising) -> list[str]:
        """The first sign."""
        line = self._head(model, tr("RISING"), action.where, action.listener)
        line += sign(action)
        return [self._paint(_YELLOW, part) for part in self._filled(line)]

    def passed(self, model: Model, action: Passed) -> list[str]:
        """It was nothing."""
        line = self._head(model, tr("PASSED"), action.where, action.listener)
        return self._filled(line + tr("{n:,} half-open, no alarm", n=action.half_open))

    def alarm(self, model: Model, action: Alarm, verdict: Verdict | None) -> list[str]:
        """The alarm, why, and what to do."""
        head = self._head(model, tr("ALARM"), action.where, action.listener) + because(action)
        lines = [self._paint(_RED, part) for part in self._filled(head)]
        incident = [_INDENT + tr("incident {id}", id=action.incident)] if action.incident else []
        return lines + self._why(action, verdict) + incident

    def cause(self, model: Model, action: CauseChanged, verdict: Verdict | None) -> list[str]:
        """Another cause of an alarm, and what to do."""
        head = self._head(model, tr("CAUSE"), action.where, action.listener) + action.cause
        head += tr(" (was {id})", id=action.before) if action.before else ""
        lines = [self._paint(_RED, part) for part in self._filled(head)]
        return lines + self._why(action, verdict)

    def clear(self, model: Model, action: Clear) -> list[str]:
        """The end of an alarm."""
        if action.gone == "namespace":
            head = f"{_clock(model.sample.wall_s)}  {tr('CLEAR')}  "
            now = tr("the network namespace {name} is gone", name=printable(action.where.name))
        else:
            head = self._head(model, tr("CLEAR"), action.where, action.listener)
            now = still(action.half_open, connections=action.listener == CONNECTIONS, gone=action.gone)
        line = head + ended(now, action.lasted_s, action.peak)
        return [self._paint(_GREEN, part) for part in self._filled(line)]

    def _head(self, model: Model, word: str, where: Namespace, listener: Subject) -> str:
        name = subject_text(listener)
        return f"{_clock(model.sample.wall_s)}  {word}  {self._where(where)}" + (f"{name}  " if name else "")

    def _why(self, action: Alarm | CauseChanged, verdict: Verdict | None) -> list[str]:
        if verdict is None:
            return []
        finding = explaining(verdict, action.cause, action.listener)
        lines = self._filled(f"{_INDENT}{say(finding)}") if finding is not None else []
        command = commands.runnable(proposed(verdict, finding, action.listener, action.where.name)[0])
        return [*lines, *commands.filled(_INDENT + tr("next: "), command, self.width, indent=14).split("\n")]

    def released(self, outcome: Released, wall_s: float | None = None) -> list[str]:
        """The outcome of a release, now or (wall_s) then."""
        line = f"{_clock(wall_s)}  "
        line += tr("released {n:,} {filter}", n=outcome.released, filter=chosen(outcome.action.filter))
        if policy := outcome.action.policy:
            line += tr(" (policy {name}{why})", name=policy, why=decided_by(outcome.action))
        if outcome.gone or outcome.failed:
            line += tr(" (gone {gone:,}, failed {failed:,})", gone=outcome.gone, failed=outcome.failed)
        if outcome.resets:
            line += tr_n(", {n:,} RST sent meanwhile", ", {n:,} RSTs sent meanwhile", outcome.resets)
        problems = [part for p in outcome.problems for part in self._filled(f"{_INDENT}{told(p)}")]
        return [*(self._paint(_YELLOW, part) for part in self._filled(line)), *problems]

    def withheld(self, model: Model, action: Withheld) -> list[str]:
        """A release that is not carried out, and why."""
        where = self._where(action.release.where)
        line = f"{_clock(model.sample.wall_s)}  {where}{withheld_words(action)}"
        return [self._paint(_YELLOW, part) for part in self._filled(line)]

    def guarded(self, outcome: Protected) -> list[str]:
        """A guard is armed, or off again."""
        line = f"{_clock()}  {self._where(outcome.action.where)}{guard_line(outcome)}"
        more = [*outcome.problems, *(() if outcome.ended else outcome.notes)]
        notes = [part for one in more for part in self._filled(f"{_INDENT}{told(one)}")]
        return [*(self._paint(_YELLOW, part) for part in self._filled(line)), *notes]

    def guard_withheld(self, action: GuardWithheld) -> list[str]:
        """A guard that is not armed, and why."""
        line = f"{_clock()}  {self._where(action.protect.where)}{guard_withheld_line(action)}"
        return [self._paint(_YELLOW, part) for part in self._filled(line)]

    def trouble(self, netns: str, error: HalfopenError) -> list[str]:
        """An error that does not end the watch."""
        line = f"{_clock()}  {told(f'{netns}: {error.line()}')}"
        return [self._paint(_RED, part) for part in self._filled(line)]

    def round(self, watched: Collection[Namespace]) -> list[str]:
        """These namespaces are watched; any other is gone."""
        for where in self._last.keys() - set(watched):
            del self._last[where]
        return []

    def end(self, readings: int) -> list[str]:
        """The last line."""
        text = tr_n(
            "ended after {n:,} reading, at most {most:,} half-open",
            "ended after {n:,} readings, at most {most:,} half-open",
            readings,
            most=self._peak,
        )
        return [f"{_clock()}  {text}"]
