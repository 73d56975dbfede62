"""The readings of the watch for other processes' screens: the newest of each namespace, encoded while a screen is
connected.

The loop hands over its readings and never waits. Only the newest reading of a namespace is kept: a thread or a screen
that lags misses readings, and nothing piles up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from halfopen.core.flight import (
    TO_SCREENS,
    FlightHead,
    FlightReading,
    FlightRound,
    TroubleTold,
    flight_reading,
)
from halfopen.core.policy.incidents import Incident
from halfopen.core.reports import Begun, Reading, Reloaded, Report, Round, Trouble
from halfopen.core.where import Namespace
from halfopen.wire import readings


class _Kept(Struct):
    """A namespace: its last reading, the head of the one before, the last reading of every request, the last one that
    was judged, and its incidents. fresh: the last reading was not sent yet.
    """

    last: FlightReading
    before: FlightReading | None = None
    whole: FlightReading | None = None
    judged: FlightReading | None = None
    incidents: tuple[Incident, ...] = ()
    fresh: bool = True

    def all(self) -> tuple[FlightReading, ...]:
        """The readings for a new screen: one for ages, one for rates, one for findings and incidents."""
        last = self.last
        if last.findings is None and self.judged is not None:
            last = replace(last, findings=self.judged.findings, cures=self.judged.cures)
        older = (one for one in (self.whole, self.before) if one is not None and one is not self.last)
        return (*older, last)


class ReadingsBatch(Struct):
    """The readings since the last batch: the frames of each namespace, by inode, and the frame of the round."""

    frames: dict[int, bytes] = field(default_factory=dict)
    round: FlightRound = field(default_factory=lambda: FlightRound(0.0))

    def of(self, inode: int | None) -> bytes:
        """The frames for a screen that shows one namespace, or (None) all."""
        if inode is None:
            return b"".join([*self.frames.values(), readings.encode(self.round)])
        one = self.round
        mine = replace(
            one,
            watched=tuple(w for w in one.watched if w.inode == inode),
            troubled=tuple(w for w in one.troubled if w.inode == inode),
            incidents=tuple(i for i in one.incidents if i.where.inode == inode),
        )
        return self.frames.get(inode, b"") + readings.encode(mine)


class ReadingsFeed:
    """Takes the reports of a watch, in its loop; `head`, `first` and `news` are for the thread that serves screens.

    watched: whether a screen is there, which that thread sets. wake: called in the loop when there is news for one.
    has_news: a round ended since `news` was asked last.
    """

    def __init__(self, version: str) -> None:
        self.watched = False
        self.wake: Callable[[], None] | None = None
        self._version = version
        self._lock = threading.Lock()
        self._of: dict[Namespace, _Kept] = {}
        self._troubles: dict[Namespace | str, TroubleTold] = {}
        self._interval_s, self._filter = 1.0, ""
        self._round = FlightRound(1.0)
        self.has_news = False

    def take(self, report: Report) -> None:
        """Take in a report."""
        match report:
            case Begun() | Reloaded():
                self._interval_s, self._filter = report.interval_s, report.policy.watched.arguments()
            case Reading():
                with self._lock:
                    self._read(report)
            case Trouble():
                e = report.error
                told = TroubleTold(report.about, e.id, e.message, e.hint, report.where)
                self._troubles[report.where or report.about] = told
            case Round():
                self._end(report)

    def _read(self, report: Reading) -> None:
        one = flight_reading(report.model, report.verdict, report.calm, room=TO_SCREENS)
        where = report.model.sample.where
        kept = self._of.get(where)
        if kept is None:
            self._of[where] = kept = _Kept(one)
        else:
            # A reading of only the depths is small.
            head = kept.last.sample if kept.last.sample.depths else kept.last.sample.bare()
            kept.last, kept.before, kept.fresh = one, FlightReading(head, glance=True), True
        kept.incidents = report.incidents
        if one.findings is not None:
            kept.judged = FlightReading(one.sample.bare(), findings=one.findings, cures=one.cures)
        if not one.sample.depths:
            kept.whole = one
        elif not (report.model.half_open or report.model.deferred):
            kept.whole = None

    def _end(self, report: Round) -> None:
        with self._lock:
            self._of = {where: kept for where, kept in self._of.items() if where in report.watched}
            incidents = tuple(one for kept in self._of.values() for one in kept.incidents)
            watched, troubled = tuple(report.watched), tuple(report.troubled)
            troubles = tuple(self._troubles.values())
            self._round = FlightRound(self._interval_s, watched, troubled, incidents, troubles)
            # For each namespace this is reported once, when it begins.
            self._troubles = {about: told for about, told in self._troubles.items() if about in report.troubled}
        self.has_news, wake = True, self.wake
        if self.watched and wake is not None:
            wake()

    # --- for the thread that serves screens ---------------------------------------------------------------------------

    def head(self) -> bytes:
        """The first frame of a stream."""
        return readings.encode(FlightHead("", self._version, self._filter))

    def first(self, inode: int | None) -> bytes:
        """The frames for a new screen of a namespace, or (None) of all, so that it shows what is known already."""
        with self._lock:
            known = [(where.inode, kept.all()) for where, kept in self._of.items()]
            batch = ReadingsBatch(round=self._round)
        for one, entries in known:
            if inode in (None, one):
                batch.frames[one] = b"".join(map(readings.encode, entries))
        return batch.of(inode)

    def news(self) -> ReadingsBatch:
        """The readings since the last call."""
        self.has_news = False
        with self._lock:
            fresh = [(where.inode, kept.last) for where, kept in self._of.items() if kept.fresh]
            for kept in self._of.values():
                kept.fresh = False
            made = ReadingsBatch(round=self._round)
        made.frames = {inode: readings.encode(one) for inode, one in fresh}
        return made
