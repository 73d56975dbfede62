"""The sink of a watch that keeps what the screen shows."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.live import (
    Live,
    LiveDetails,
    LiveNamespace,
    LiveSource,
    aged_s,
    ages_by_listener,
    finished_by_prefix,
)
from halfopen.core.model.model import Model
from halfopen.core.model.moments import last_minute, moment_of
from halfopen.core.policy.spacing import as_wanted_again
from halfopen.core.reports import Begun, Reading, Report, Round, Trouble
from halfopen.core.where import ListenerKey, Namespace
from halfopen.ops.top.focus import Focus

# For how long the last counts of finished handshakes by source are shown.
_COUNTED_S: Final = 60.0


class KeptLive:
    """Takes reports in the thread that reads. `live` is always replaced as a whole, so any thread may read it."""

    def __init__(self, interval_s: float, reader: str = "") -> None:
        """reader: who reads the kernel, "" for this process."""
        self.live = Live(interval_s=interval_s, reader=reader)
        self._spaces: dict[int, LiveNamespace] = {}
        self._finished: dict[int, tuple[float, dict[str, float]]] = {}
        # From the last reading of all requests, which are not kept themselves.
        self._ages: dict[int, dict[ListenerKey, tuple[int, ...]]] = {}
        self._focus: Focus | None = None
        self._details: LiveDetails | None = None
        self._trouble = ""
        # The namespace of that trouble, which is dropped once the namespace can be read.
        self._troubled_where: Namespace | None = None

    def focus(self, inode: int | None, key: ListenerKey | None) -> None:
        """Read this listener in detail from now on; with None, no listener."""
        self.close()
        if inode is not None and key is not None:
            self._focus = Focus(inode, key, self._ages.get(inode, {}).get(key))
            space = self._spaces.get(inode)
            if space is not None:
                self._details = self._focus.look(space.whole or space.model)
        self._publish()

    def close(self) -> None:
        """Stop reading details."""
        if self._focus is not None:
            self._focus.close()
        self._focus = self._details = None

    def take(self, report: Report) -> bool:
        """Keep what the screen needs of a report. Returns whether there is something new to draw."""
        match report:
            case Begun():
                self._trouble = ""
                self.live = replace(self.live, interval_s=report.interval_s)
            case Reading():
                self._read(report)
            case Trouble():
                self._troubled(report)
            case Round():
                there = {where.inode for where in report.watched}
                self._spaces = {inode: one for inode, one in self._spaces.items() if inode in there}
                self._ages = {inode: ages for inode, ages in self._ages.items() if inode in there}
                if self._troubled_where is not None and self._troubled_where not in report.troubled:
                    self._trouble, self._troubled_where = "", None
                self._publish(self._wall_s())
                return True
        return False

    def _read(self, report: Reading) -> None:
        model, inode = report.model, report.model.sample.where.inode
        before, bare = self._spaces.get(inode), report.model.bare()
        if (ages := ages_by_listener(model)) is not None:
            self._ages[inode] = ages
        again = before is not None and before.model.sample.where == model.sample.where
        mine = self._focus is not None and self._focus.inode == inode
        if not again:
            # The first reading, or the inode now belongs to another namespace: older counts are not this one's.
            self._finished.pop(inode, None)
            if mine and before is not None:
                self.close()
        elif mine and self._focus is not None:
            self._details = self._focus.look(model)
        minute = before.minute if before is not None and again else ()
        moment = moment_of(model)
        whole = bare if not model.sample.depths else before.whole if before is not None and again else None
        self._spaces[inode] = LiveNamespace(
            bare,
            _verdict(report, before if again else None),
            report.incidents,
            whole,
            last_minute(minute, moment),
            self._sources(model, whole),
        )

    def _sources(self, model: Model, whole: Model | None) -> tuple[LiveSource, ...]:
        inode, now_s = model.sample.where.inode, model.sample.monotonic_s
        if (found := finished_by_prefix(model)) is not None:
            self._finished[inode] = now_s, dict(found)
        at_s, finished = self._finished.get(inode, (0.0, {}))
        known = finished if now_s - at_s < _COUNTED_S else {}
        if whole is None:
            return ()
        seconds = aged_s(model, whole)
        return tuple(LiveSource(one, known.get(one.prefix), seconds) for one in whole.sources)

    def _troubled(self, report: Trouble) -> None:
        if as_wanted_again(report.error):
            self._trouble = ""
            return
        words, where = report.error.line(), report.where
        space = None if where is None else self._spaces.get(where.inode)
        if where is not None and space is not None and space.model.sample.where == where:
            self._spaces[where.inode] = replace(space, trouble=words)
            return
        self._trouble, self._troubled_where = f"{report.about}: {words}", where

    def _wall_s(self) -> float | None:
        return max((one.model.sample.wall_s for one in self._spaces.values()), default=None)

    def _publish(self, wall_s: float | None = None) -> None:
        spaces = tuple(self._spaces.values())
        at_s = self.live.wall_s if wall_s is None else wall_s
        details, trouble = self._details, self._trouble
        self.live = replace(self.live, spaces=spaces, wall_s=at_s, details=details, trouble=trouble)


def _verdict(report: Reading, before: LiveNamespace | None) -> Verdict:
    """The verdict on a reading; the last one where the loop saw no reason to judge again."""
    if report.verdict is not None:
        return report.verdict
    return before.verdict if before is not None else judge(report.model)
