"""A lab's server as the live screen keeps it, and placeholders for what a screen shows differently in each run."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from halfopen.core.findings.finding import Verdict
from halfopen.core.live import Live, LiveNamespace
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Report, Round
from halfopen.lab import Lab
from halfopen.linux.netns import Netns
from halfopen.ops.executor import Executor
from halfopen.ops.top.kept import KeptLive
from halfopen.ops.watch.loop import Watch

INTERVAL_S = 0.5


class Play:
    """What a watch of a lab's server keeps for the screen, reading by reading. pids: of the programs that listen."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self._kept = KeptLive(INTERVAL_S)
        where = Netns(name, lab.server.inode, lab.server.netns_path)
        self._watch = Watch(Policy(), Executor(os.devnull), INTERVAL_S, where, top=10)
        self._reports: Iterator[Report] = iter(self._watch.run())

    @property
    def pids(self) -> list[int]:
        return [pid for one in self.lab.server.listeners for pid in one.pids]

    def close(self) -> None:
        """End the watch."""
        self._watch.stop.set()
        for _ in self._reports:
            pass

    def live(self) -> Live:
        """All of it, after the next reading."""
        for report in self._reports:
            self._kept.take(report)
            if isinstance(report, Round):
                break
        return self._kept.live

    def until(self, holds: Callable[[LiveNamespace], bool], timeout_s: float = 60.0) -> None:
        """Read until something holds. Raises: AssertionError."""
        deadline = time.monotonic() + timeout_s
        while not holds((live := self.live()).spaces[0]):
            assert time.monotonic() < deadline, found(live.spaces[0].verdict)


@contextmanager
def play(name: str) -> Iterator[Play]:
    """A lab and the watch of its server, a namespace of that name."""
    with Lab() as lab:
        made = Play(lab, name)
        try:
            yield made
        finally:
            made.close()


def found(verdict: Verdict) -> list[str]:
    """The ids of its findings."""
    return [one.id for one in verdict.findings]


# --- placeholders -----------------------------------------------------------------------------------------------------

# In sentences and cells before they are laid out, so that one digit more or less moves nothing.
_ALWAYS = (
    (re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{6}\b"), "00000000T000000Z-000000"),
    (re.compile(r"\d[\d,.]*((?: [-A-Za-z]+)?)/(s\b|秒)"), r"#\1/\2"),
    (re.compile(r"\d+(?:\.\d+)? (s|ms|min|秒|毫秒|分)(?![a-z])"), r"# \1"),
    (re.compile(r"\d+(?:\.\d+)?%"), "#%"),
    (re.compile(r"198\.1[89]\.\d+\.0/24"), "198.18.#.0/24"),
)
_HALF_OPEN = re.compile(r"\d[\d,]*(?= half-open| 个半连接)")
_FIRST = re.compile(r"^\d[\d,]*")
_EACH = re.compile(r"^\d.*")


class Stable:
    """The rules of one scene. pids: of its servers. counts: half-open connections keep coming, so that their number,
    and how far the bars of the SYN queue reach, differ from run to run.
    """

    def __init__(self, pids: Iterable[int], *, counts: bool) -> None:
        self.counts = counts
        mine = "|".join(map(str, pids))
        self._pids = (
            (re.compile(rf"(?<![\w-])\w+ (?:{mine})\b"), "server 4711"),
            (re.compile(rf"(?<=[/ ])(?:{mine})(?=[/ ])"), "4711"),
        )

    def text(self, text: str) -> str:
        """A sentence, a command or a cell."""
        for pattern, instead in (*self._pids, *_ALWAYS):
            text = pattern.sub(instead, text)
        return _HALF_OPEN.sub("#", text) if self.counts else text

    def cell(self, name: str, text: str) -> str:
        """A cell of the column of that name."""
        if name == "retransmits":
            return _EACH.sub("#/#", text)
        if self.counts and name in ("half_open", "peak_half_open", "syn_queue"):
            return _FIRST.sub("#", text)
        return self.text(text)

    def screen(self, text: str) -> str:
        """The whole screen, laid out: the clock, and what is drawn of the time since the watch began."""
        return "".join(self._line(line) for line in text.splitlines(keepends=True))

    def _line(self, line: str) -> str:
        line = re.sub(r"\d\d:\d\d:\d\d$", "##:##:##", line)
        line = re.sub(r"[ ~]#/s( +[▁▂▃▄▅▆▇█]+)", lambda m: f" #/s {'~' * (len(m[1]) - 1)}", line)
        line = re.sub(r"^( *[\d,]*) ([┤│┴]).*$", lambda m: f"{' ' * len(m[1])} {m[2]}~", line)
        return _HALF_OPEN.sub("#", line).replace("«", "").replace("»", "") if self.counts else line

    def steady(self, patch: pytest.MonkeyPatch) -> None:
        """Have every sentence, command, cell and rate pass the rules on its way to the screen."""
        from halfopen.core import live
        from halfopen.present import commands, told_cells
        from halfopen.present.screen import drawing, overview, tables

        for module in (drawing, overview):
            patch.setattr(module, "wrapped", self._before(module.wrapped))
        patch.setattr(commands, "runnable", lambda command, runnable=commands.runnable: self.text(runnable(command)))
        told = told_cells.told_cell
        patch.setattr(tables, "told_cell", lambda field, subject: self.cell(field.name, told(field, subject)))
        patch.setattr(overview, "per_s", lambda _: "#")
        # On a busy machine ages are read less often, and the screen says so.
        patch.setattr(live, "_AGED_S", math.inf)

    def _before(self, wrapped: Callable[[str, int, str], list[str]]) -> Callable[[str, int, str], list[str]]:
        return lambda line, width, indent: wrapped(self.text(line), width, indent)
