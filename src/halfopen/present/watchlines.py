"""The lines of `watch`: for a person, one when something changed; for a program, a JSON object for everything."""

from __future__ import annotations

import json
import os
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, assert_never

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.field import json_object
from halfopen.core.fields.released import released
from halfopen.core.fields.watch import READING
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Released
from halfopen.core.policy.policy import Alarm, Clear, Policy
from halfopen.core.reports import Begun, Decided, Did, Ended, Reading, Report, Round, Trouble
from halfopen.core.units import json_text, plural, printable, show_duration
from halfopen.core.where import Namespace
from halfopen.present import commands
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import listener_name, say

# Under the text, beside the time.
_INDENT = " " * 10
_RED, _GREEN, _YELLOW, _RESET = "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"


def _clock(wall_s: float | None = None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(wall_s))


class Lines(ABC):
    """The sink of a watch that prints what is reported, as lines on standard output."""

    def take(self, event: Report) -> None:
        """Print what there is to say of it."""
        for line in self.lines(event):
            print(line, flush=True)

    def lines(self, event: Report) -> list[str]:
        """What there is to say of it."""
        match event:
            case Begun():
                return self.begin(event.interval_s, event.policy)
            case Reading():
                return self.reading(event.model)
            case Decided(model, action):
                return self.alarm(model, action) if isinstance(action, Alarm) else self.clear(model, action)
            case Did():
                return self.released(event.outcome)
            case Trouble():
                return self.trouble(event.netns, event.error)
            case Round():
                return self.round(event.watched)
            case Ended():
                return self.end(event.readings)
        assert_never(event)

    @abstractmethod
    def begin(self, interval_s: float, policy: Policy) -> list[str]: ...
    @abstractmethod
    def reading(self, model: Model) -> list[str]: ...
    @abstractmethod
    def alarm(self, model: Model, action: Alarm) -> list[str]: ...
    @abstractmethod
    def clear(self, model: Model, action: Clear) -> list[str]: ...
    @abstractmethod
    def released(self, outcome: Released) -> list[str]: ...
    @abstractmethod
    def trouble(self, netns: str, error: HalfopenError) -> list[str]: ...
    @abstractmethod
    def end(self, readings: int) -> list[str]: ...

    def round(self, watched: Collection[Namespace]) -> list[str]:
        """Nothing is said of it."""
        return []


@dataclass(slots=True)
class TextLines(Lines):
    """For a person. `colour` on a terminal; `every` reading, or only changes; `several` namespaces are watched; `width`
    of the terminal, None where there is none.
    """

    colour: bool
    every: bool = False
    several: bool = False
    width: int | None = None
    _last: dict[Namespace, tuple[int, ...]] = field(default_factory=dict)
    _peak: int = 0

    def _paint(self, colour: str, line: str) -> str:
        return f"{colour}{line}{_RESET}" if self.colour and not os.environ.get("NO_COLOR") else line

    def _where(self, where: Namespace) -> str:
        return f"[{printable(where.name)}] " if self.several else ""

    def _filled(self, line: str) -> list[str]:
        """The line, in several where the terminal is narrower: broken between words."""
        if self.width is None or len(line) <= self.width:
            return [line]
        return textwrap.wrap(
            line, self.width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
        )

    def begin(self, interval_s: float, policy: Policy) -> list[str]:
        """What is watched, and how."""
        line = f"{_clock()}  watching "
        if not policy.watched.empty:
            line += f"connections {policy.watched.describe()} "
        line += f"every {show_duration(interval_s)}"
        if policy.release is not None:
            line += f", releasing those {policy.release.describe()}"
        return self._filled(f"{line}; a line when something changes, Ctrl-C ends it")

    def reading(self, model: Model) -> list[str]:
        """A line, when this reading differs from the last one of its namespace in more than age."""
        where = model.sample.where
        self._peak = max(self._peak, model.half_open)
        moved = model.rates or {}
        dropped = round(moved.get("ListenDrops", 0.0)), round(moved.get("SyncookiesSent", 0.0))
        accept = sum(v.accept_queue for v in model.listeners)
        now = (model.half_open, model.may_have_answered, model.deferred, accept, *dropped)
        last = self._last.get(where)
        self._last[where] = now
        if now == last and not self.every:
            return []
        if last is None and not any(now) and self.several and not self.every:
            return []
        change = "" if last is None else f" ({model.half_open - last[0]:+,})"
        line = f"{_clock(model.sample.wall_s)}  {self._where(where)}{model.half_open:,} half-open{change}"
        if model.half_open and not model.sample.depths:
            line += f", oldest {show_duration(round(model.oldest_s, 1))}, new {model.arrivals_per_s:,}/s"
        if model.half_open:
            fullest = max(model.listeners, key=lambda v: v.fill or 0.0, default=None)
            if fullest is not None and fullest.fill:
                line += f", {listener_name(fullest)} {fullest.fill:.0%} full"
        if model.may_have_answered:
            line += f", {model.may_have_answered:,} may have answered"
        if model.deferred:
            line += f", {model.deferred:,} deferred"
        if accept:
            line += f", {accept:,} in accept queues"
        if dropped[0]:
            line += f", {dropped[0]:,} drops/s"
        if dropped[1]:
            line += f", {dropped[1]:,} SYN cookies/s"
        return self._filled(line)

    def alarm(self, model: Model, action: Alarm) -> list[str]:
        """The alarm, why, and what to do."""
        verdict = judge(model)
        head = f"{_clock(model.sample.wall_s)}  ALARM  {self._where(action.where)}"
        head += plural(action.half_open, "half-open connection")
        head += f", usually {action.usual:,.0f} (alarm at {action.limit:,.0f})"
        lines = [self._paint(_RED, part) for part in self._filled(head)]
        if verdict.findings:
            lines += self._filled(f"{_INDENT}{say(verdict.findings[0])}")
        command = commands.runnable(next_commands(verdict)[0])
        lines += commands.filled(f"{_INDENT}next: ", command, self.width, indent=14).split("\n")
        return lines

    def clear(self, model: Model, action: Clear) -> list[str]:
        """The end of an alarm."""
        head, lasted = f"{_clock(model.sample.wall_s)}  CLEAR  ", show_duration(round(action.lasted_s))
        if action.gone:
            line = f"{head}the network namespace {printable(action.where.name)} is gone, "
        else:
            line = f"{head}{self._where(action.where)}{action.half_open:,} half-open, "
        line += f"after {lasted} with a peak of {action.peak:,}"
        return [self._paint(_GREEN, part) for part in self._filled(line)]

    def released(self, outcome: Released) -> list[str]:
        """What a release came to."""
        line = f"{_clock()}  released {outcome.released:,} {outcome.action.filter.describe()}"
        if outcome.gone or outcome.failed:
            line += f" (gone {outcome.gone:,}, failed {outcome.failed:,})"
        if outcome.resets:
            line += f", {plural(outcome.resets, 'RST')} sent meanwhile"
        problems = [part for p in outcome.problems for part in self._filled(f"{_INDENT}{printable(p)}")]
        return [*(self._paint(_YELLOW, part) for part in self._filled(line)), *problems]

    def trouble(self, netns: str, error: HalfopenError) -> list[str]:
        """What could not be done."""
        line = f"{_clock()}  {printable(f'{netns}: {error.line()}')}"
        return [self._paint(_RED, part) for part in self._filled(line)]

    def round(self, watched: Collection[Namespace]) -> list[str]:
        """These namespaces are watched; any other is gone."""
        for where in self._last.keys() - set(watched):
            del self._last[where]
        return []

    def end(self, readings: int) -> list[str]:
        """The last line."""
        return [f"{_clock()}  ended after {plural(readings, 'reading')}, at most {self._peak:,} half-open"]


class JsonLines(Lines):
    """For a program: an object a line, each with `schema`, `event` and `time`."""

    def _line(self, event: str, when: float | None = None, **values: Any) -> list[str]:
        document = {
            "schema": "halfopen.watch/1",
            "event": event,
            "time": time.time() if when is None else when,
            **values,
        }
        return [json_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))]

    def begin(self, interval_s: float, policy: Policy) -> list[str]:
        """event begin."""
        release = policy.release.describe() if policy.release is not None else None
        watched = None if policy.watched.empty else policy.watched.describe()
        return self._line("begin", interval_s=interval_s, watched=watched, release=release)

    def reading(self, model: Model) -> list[str]:
        """event reading."""
        return self._line("reading", model.sample.wall_s, **json_object(READING, model))

    def alarm(self, model: Model, action: Alarm) -> list[str]:
        """event alarm."""
        verdict = judge(model)
        return self._line(
            "alarm",
            model.sample.wall_s,
            netns=action.where.name,
            half_open=action.half_open,
            usual=action.usual,
            limit=action.limit,
            reasons=[say(f) for f in verdict.findings],
            next=next_commands(verdict),
        )

    def clear(self, model: Model, action: Clear) -> list[str]:
        """event clear."""
        return self._line(
            "clear",
            model.sample.wall_s,
            netns=action.where.name,
            half_open=action.half_open,
            lasted_s=round(action.lasted_s, 3),
            peak=action.peak,
            gone=action.gone,
        )

    def released(self, outcome: Released) -> list[str]:
        """event released."""
        return self._line("released", None, filter=outcome.action.filter.describe(), **released(outcome))

    def trouble(self, netns: str, error: HalfopenError) -> list[str]:
        """event trouble."""
        return self._line("trouble", None, netns=netns, id=error.id, message=error.line())

    def end(self, readings: int) -> list[str]:
        """event end."""
        return self._line("end", None, readings=readings)
