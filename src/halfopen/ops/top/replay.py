"""`top --replay`: shows the flight record of an incident on the screen of `top`. Nothing is read from the
kernel or changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from halfopen.core.findings.diagnosis import diagnosis
from halfopen.core.findings.evidence import Evidence
from halfopen.core.flight import FlightEntry
from halfopen.core.live import Live, LiveDetails, ReplayedAt, ages_of
from halfopen.core.policy.incidents import Incident
from halfopen.core.sample.workers import Workers
from halfopen.linux import threads
from halfopen.linux.tty import Screen
from halfopen.ops.top.frames import Frame, frames
from halfopen.ops.top.keys import KeyLoop
from halfopen.ops.top.player import Player
from halfopen.present.screen import phrases
from halfopen.present.screen.captured import captured
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.state import Page, ScreenState, Wish

# How long a line that was printed at a reading stays on the screen, by the clock of the record.
_TOLD_FOR_S: Final = 5.0


class TopReplay(KeyLoop):
    """The screen of one flight record. problem: what is wrong with its end, "" for nothing."""

    def __init__(
        self,
        one: Incident,
        entries: Sequence[FlightEntry],
        problem: str,
        screen: Screen,
        painter: Painter,
        *,
        ascii_only: bool,
    ) -> None:
        super().__init__(screen, painter, ScreenState(replay=True), ascii_only=ascii_only)
        self._incident, self._entries, self._problem = one, entries, problem
        self._frames: list[Frame] = []
        self._whole = False
        self._failure: BaseException | None = None
        self._player = Player()

    def run(self) -> None:
        """Show the screen until it is left."""
        threads.start(threading.Thread(target=self._read, name="halfopen-replay", daemon=True))
        self._draw()
        self._loop()
        if self._failure is not None:
            raise self._failure

    def _read(self) -> None:
        """Build and judge the readings, in a thread of its own because a long record takes some seconds."""
        try:
            for frame in frames(self._entries):
                if self._quit:
                    return
                self._frames.append(frame)
                self._screen.wake()
        except BaseException as e:
            self._failure = e
            self._quit = True
        self._whole = True
        self._screen.wake()

    # --- the main thread ----------------------------------------------------------------------------------------------

    def _patience_s(self) -> float | None:
        return self._player.next_in_s()

    def _take_news(self) -> None:
        """Take in the frames built since, and move on to where the replay is by now."""
        moments, now_s = self._player.moments, time.monotonic()
        first = not moments
        moments += [frame.at_s for frame in self._frames[len(moments) :]]
        if moments:
            if first:
                self._player.begin(now_s)
            self._player.advance(now_s)

    def _press(self, key: str) -> None:
        elsewhere = self._state.typing or self._state.page is Page.TEXT
        if elsewhere or not self._player.press(key):
            super()._press(key)
        self._state = replace(self._state, paused=self._player.paused)

    def _newest(self) -> Live:
        if not self._player.begun:
            return Live()
        frame = self._frames[self._player.at]
        trouble = phrases.record_ends_early(self._problem) if self._ends and self._problem else ""
        return replace(frame.live, details=self._details(frame), replayed=self._replayed(), trouble=trouble)

    @property
    def _ends(self) -> bool:
        return self._whole and self._player.at + 1 == len(self._frames)

    def _replayed(self) -> ReplayedAt:
        at, count = self._player.at, len(self._player.moments)
        now_s = self._frames[at].at_s
        recent = [f for f in self._frames[max(0, at - 20) : at + 1] if f.told and now_s - f.at_s < _TOLD_FOR_S]
        return ReplayedAt(
            self._incident.id,
            at,
            count,
            self._player.speed,
            self._whole,
            self._frames[0].wall_s,
            self._frames[count - 1].wall_s,
            self._incident.began_s,
            self._ends,
            recent[-1].told if recent else (),
        )

    def _details(self, frame: Frame) -> LiveDetails | None:
        """The details of the listener whose page is open, as far as they were recorded."""
        if self._state.page is not Page.DETAILS or self._state.listener is None:
            return None
        sample, key = frame.model.sample, self._state.listener
        ages = ages_of(frame.model, key)
        return LiveDetails(sample.where.inode, key, ages, None, phrases.not_replayed(), sample.part(Workers))

    def _grant(self, wish: Wish) -> None:
        if wish is Wish.DIAGNOSE and self._player.begun:
            self._diagnose(self._frames[self._player.at])
        elif wish is not Wish.DETAILS:
            self._state = self._state.with_notice(phrases.nothing_changes())

    def _diagnose(self, frame: Frame) -> None:
        """Show what `diagnose` would have said then."""
        from halfopen.present.diagnosis import show

        if not frame.whole:
            self._state = self._state.with_notice(phrases.recorded_in_part())
            return
        found = diagnosis(Evidence(frame.model, frame.before))
        lines = captured(lambda out: show(out, [found], []), self._screen.size()[0])
        self._state = self._state.with_text(phrases.diagnose_title(), lines)
