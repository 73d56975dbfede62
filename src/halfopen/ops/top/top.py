"""The screen of `top`, driven by keys and readings.

The main thread reads keys and draws. Another one runs the loop of `watch`, and between readings does what keys ask for;
or it takes the readings of the service.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.errors import HalfopenError, words
from halfopen.core.live import Live, LiveNamespace
from halfopen.core.model.listeners import ListenerView
from halfopen.core.reports import Report
from halfopen.linux import threads
from halfopen.linux.tty import Screen
from halfopen.ops.top.between import Between
from halfopen.ops.top.kept import KeptLive
from halfopen.ops.top.keys import KeyLoop
from halfopen.ops.top.work import DIAGNOSE_S, StateChange, TopWork, failed
from halfopen.present.language import spoken
from halfopen.present.screen import choosing_rows, phrases
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.state import Page, ScreenState, Wish

# How long to wait for the thread that reads, once it was asked to end.
_PATIENCE_S: Final = 15.0
_TICK_S: Final = 1.0
# The last reading is called old after this many intervals, but not before _LATE_LEAST_S; as on the web page.
_LATE: Final = 4
_LATE_LEAST_S: Final = 5.0


class ReadingSource(Struct, frozen=True):
    """Where readings come from.

    run: yields reports until the event is set; called in the thread that reads. several: whether they are of every
    namespace. interval_s: between two readings, as far as known before the first. reader: who reads the kernel, "" for
    this process. notice: what the user should know about that. widen: makes it go on with every namespace, called in
    the thread that reads; None where it cannot.
    """

    run: Callable[[Between], Iterator[Report]]
    several: bool = False
    interval_s: float = 1.0
    reader: str = ""
    notice: str = ""
    widen: Callable[[], None] | None = None


class Top(KeyLoop):
    """The screen of one watch. painter: what it draws with; ascii_only: no blocks in sparklines."""

    def __init__(
        self, source: ReadingSource, work: TopWork, screen: Screen, painter: Painter, *, ascii_only: bool
    ) -> None:
        page = Page.NAMESPACES if source.several else Page.LISTENERS
        wider = source.widen is not None
        state = ScreenState(several=source.several, wider=wider, page=page, notice=source.notice)
        super().__init__(screen, painter, state, ascii_only=ascii_only)
        self._source, self._work = source, work
        self._between = Between()
        self._kept = KeptLive(source.interval_s, source.reader)
        self._changes: deque[StateChange] = deque()
        self._failure: BaseException | None = None
        self._working_since_s = 0.0

    def quit(self) -> None:
        """Leave the screen in order. May be called from a signal handler or any thread."""
        self._work.stop.set()
        super().quit()

    def run(self) -> None:
        """Show the screen until it is left. Raises: HalfopenError when the very first reading is impossible."""
        reader = threading.Thread(target=self._read, name="halfopen-reader", daemon=True)
        threads.start(reader)
        try:
            self._loop()
        finally:
            self._work.stop.set()
            self._between.set()
            reader.join(_PATIENCE_S)
        if self._failure is not None:
            raise self._failure

    def _read(self) -> None:
        try:
            for report in self._source.run(self._between):
                if self._kept.take(report):
                    self._screen.wake()
        except BaseException as e:
            self._failure = e
        finally:
            self._kept.close()
            self._quit = True
            self._screen.wake()

    # --- the main thread ----------------------------------------------------------------------------------------------

    def _patience_s(self) -> float | None:
        """Until the screen must show anew how long work has taken, or how old the last reading is."""
        if self._state.working:
            return _TICK_S
        age_s = self._age_s()
        return None if age_s is None else max(_TICK_S, self._late_after_s() - age_s)

    def _age_s(self) -> float | None:
        """How many seconds old the last reading is; None before the first, and while the screen is paused."""
        spaces = () if self._state.paused else self._kept.live.spaces
        taken_s = max((space.model.sample.monotonic_s for space in spaces), default=None)
        return None if taken_s is None else time.monotonic() - taken_s

    def _late_after_s(self) -> float:
        return max(_LATE_LEAST_S, _LATE * self._kept.live.interval_s)

    def _newest(self) -> Live:
        # Paused before the first reading, there is nothing to keep showing.
        return self._shown if self._state.paused and self._shown.spaces else self._kept.live

    def _drawn_state(self) -> ScreenState:
        self._work.columns = self._screen.size()[0]
        age_s = self._age_s() or 0.0
        state = replace(self._state, late_s=age_s if age_s > self._late_after_s() else 0.0)
        if not state.working:
            return state
        return replace(state, working=f"{state.working} ({time.monotonic() - self._working_since_s:.0f} s)")

    def _take_news(self) -> None:
        while self._changes:
            self._state = self._changes.popleft()(self._state)

    def _grant(self, wish: Wish) -> None:
        space = choosing_rows.space_of(self._shown, self._state)
        view = choosing_rows.selected(self._shown, self._state)
        if self._state.page is Page.DETAILS and space is not None:
            # Not the selected row: it is another listener's where this one is gone.
            view = space.view(self._state.listener)
        if wish is Wish.DETAILS:
            self._focus()
        elif wish is Wish.NAMESPACES:
            self._focus()
            if self._source.widen is not None:
                self._between.do(self._source.widen)
        elif wish is Wish.CANCELLED:
            self._work.forget()
        elif space is None:
            self._state = self._state.with_notice(phrases.nothing_read())
        elif self._state.working:
            self._state = replace(self._state, notice=phrases.one_at_a_time())
        elif wish is Wish.DIAGNOSE:
            self._do(phrases.looking(DIAGNOSE_S), lambda: self._work.diagnose(space))
        elif wish is Wish.CONFIRMED:
            self._do(phrases.changing(), self._work.carry_out)
        elif wish is Wish.TUNE:
            self._do(phrases.planning(), lambda: self._work.plan(space, view))
        elif view is None:
            self._state = self._state.with_notice(phrases.no_listener())
        else:
            self._count(space, view, other_age=wish is Wish.OTHER_AGE)

    def _count(self, space: LiveNamespace, view: ListenerView, *, other_age: bool) -> None:
        if self._state.page is Page.NAMESPACES:
            self._state = self._state.with_notice(phrases.choose_first())
            return
        self._do(phrases.counting(), lambda: self._work.count(space, view, other_age=other_age))

    def _focus(self) -> None:
        """Read the selected listener in detail while its page is open, and none otherwise."""
        state, space = self._state, choosing_rows.space_of(self._shown, self._state)
        on = state.page is Page.DETAILS and space is not None
        inode = space.model.sample.where.inode if on and space is not None else None

        def focus() -> None:
            self._kept.focus(inode, state.listener if on else None)
            self._screen.wake()

        self._between.do(focus)

    def _do(self, what: str, work: Callable[[], StateChange]) -> None:
        """Have work done by the thread that reads or, where another process reads, by a thread of its own. what: shown
        on the screen meanwhile.
        """
        self._state = replace(self._state, working=what, notice="")
        self._working_since_s = time.monotonic()

        def job() -> None:
            with spoken():
                try:
                    change = work()
                except HalfopenError as e:
                    change = failed(e)
                except (OSError, MemoryError, ValueError) as e:
                    change = failed(HalfopenError("top", words(e)))
            self._changes.append(change)
            self._screen.wake()

        if self._source.reader:
            threads.start(threading.Thread(target=job, name="halfopen-work", daemon=True))
        else:
            self._between.do(job)
