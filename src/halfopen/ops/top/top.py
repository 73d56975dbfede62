"""`top`: keys and readings drive the screen.

The main thread reads keys and draws; another one runs the loop of `watch` and does, between readings, what keys ask.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from halfopen.core.errors import HalfopenError, words
from halfopen.core.live import Live, LiveNamespace
from halfopen.core.model.listeners import ListenerView
from halfopen.linux import threads
from halfopen.linux.tty import Screen
from halfopen.ops.release.steady import steady
from halfopen.ops.top.between import Between
from halfopen.ops.top.kept import KeptLive
from halfopen.ops.top.work import DIAGNOSE_S, StateChange, TopWork, failed
from halfopen.ops.watch.loop import Watch
from halfopen.present.language import spoken
from halfopen.present.screen import choosing_rows
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.keyboard import KeyDecoder
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.pressing import press
from halfopen.present.screen.state import Page, ScreenState, Wish

# The rest of the sequence of a special key comes at once; over a slow line within this.
_ESCAPE_S: Final = 0.05
# Of work that is told to end.
_PATIENCE_S: Final = 15.0
_TICK_S: Final = 1.0


class Top:
    """The screen of one watch. painter: what it draws with; ascii_only: no blocks in sparklines."""

    def __init__(self, watch: Watch, work: TopWork, screen: Screen, painter: Painter, *, ascii_only: bool) -> None:
        self._watch, self._work, self._screen, self._painter = watch, work, screen, painter
        self._ascii_only = ascii_only
        self._between = Between()
        watch.stop = self._between
        self._kept = KeptLive(watch.interval_s)
        self._changes: deque[StateChange] = deque()
        self._failure: BaseException | None = None
        self._working_since_s = 0.0
        self._quit = False
        several = watch.everywhere
        self._state = ScreenState(several=several, page=Page.NAMESPACES if several else Page.LISTENERS)
        self._shown = Live()

    def quit(self) -> None:
        """End in order; from a signal handler or any thread."""
        self._quit = True
        self._work.stop.set()
        self._screen.wake()

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
            for report in self._watch.run():
                if self._kept.take(report):
                    self._screen.wake()
        except BaseException as e:
            self._failure = e
        finally:
            self._kept.close()
            self._quit = True
            self._screen.wake()

    # --- the main thread ----------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        keys, typed_s = KeyDecoder(), 0.0
        while not self._quit:
            typed = self._screen.wait(_ESCAPE_S if keys.waits else self._patience_s())
            if typed is None:
                break
            now = time.monotonic()
            # A reading that wakes it is no sign that nothing follows an Escape.
            pressed = keys.take(typed) if typed else keys.flush() if now - typed_s >= _ESCAPE_S else []
            typed_s = now if typed else typed_s
            for key in pressed:
                self._press(key)
            self._take_changes()
            if self._screen.to_suspend:
                self._suspend()
            if not self._quit:
                self._draw()

    def _patience_s(self) -> float | None:
        """Work that goes on says how long it has taken."""
        return _TICK_S if self._state.working else None

    def _draw(self) -> None:
        if not self._state.paused:
            self._shown = self._kept.live
        if self._screen.resized:
            self._screen.resized = False
            self._painter.forget()
        columns, rows = self._screen.size()
        self._work.columns = columns
        state = self._state
        if state.working:
            state = replace(state, working=f"{state.working} ({time.monotonic() - self._working_since_s:.0f} s)")
        with spoken():
            lines = draw(self._shown, state, columns, rows, ascii_only=self._ascii_only)
        self._screen.show(self._painter.paint(lines, columns, rows))

    def _suspend(self) -> None:
        self._screen.to_suspend = False
        # Not in the middle of a release.
        with steady.alone():
            self._screen.suspend()
        self._painter.forget()

    def _take_changes(self) -> None:
        while self._changes:
            self._state = self._changes.popleft()(self._state)

    def _press(self, key: str) -> None:
        self._state, wish = press(self._state, key, self._shown, self._screen.size()[1])
        if wish is not None:
            self._grant(wish)

    def _grant(self, wish: Wish) -> None:
        space = choosing_rows.space_of(self._shown, self._state)
        view = choosing_rows.selected(self._shown, self._state)
        if self._state.page is Page.DETAILS and space is not None:
            view = space.view(self._state.listener)  # never another one, where it is gone
        if wish is Wish.QUIT:
            self.quit()
        elif wish is Wish.REDRAW:
            self._painter.forget()
        elif wish is Wish.DETAILS:
            self._focus()
        elif wish is Wish.CANCELLED:
            self._work.forget()
        elif space is None:
            self._state = self._state.with_notice("Nothing was read yet")
        elif self._state.working:
            self._state = replace(self._state, notice="One thing at a time: wait until this is done")
        elif wish is Wish.DIAGNOSE:
            self._do(f"looking for causes for {DIAGNOSE_S:g} s", lambda: self._work.diagnose(space))
        elif wish is Wish.CONFIRMED:
            self._do("changing", self._work.carry_out)
        elif wish is Wish.TUNE:
            self._do("planning", lambda: self._work.plan(space, view))
        elif view is None:
            self._state = self._state.with_notice("No listener is selected")
        else:
            self._count(space, view, other_age=wish is Wish.OTHER_AGE)

    def _count(self, space: LiveNamespace, view: ListenerView, *, other_age: bool) -> None:
        if self._state.page is Page.NAMESPACES:
            self._state = self._state.with_notice("Choose a listener first (Enter)")
            return
        self._do("counting (nothing is changed)", lambda: self._work.count(space, view, other_age=other_age))

    def _focus(self) -> None:
        """Look at the selected listener in detail while its page is open, and at none otherwise."""
        state, space = self._state, choosing_rows.space_of(self._shown, self._state)
        on = state.page is Page.DETAILS and space is not None
        inode = space.model.sample.where.inode if on and space is not None else None

        def focus() -> None:
            self._kept.focus(inode, state.listener if on else None)
            self._screen.wake()

        self._between.do(focus)

    def _do(self, what: str, work: Callable[[], StateChange]) -> None:
        """Have work done by the thread that reads, and the screen say so meanwhile."""
        self._state = replace(self._state, working=what, notice="")
        self._working_since_s = time.monotonic()

        def job() -> None:
            try:
                change = work()
            except HalfopenError as e:
                change = failed(e)
            except (OSError, MemoryError, ValueError) as e:
                change = failed(HalfopenError("top", words(e)))
            self._changes.append(change)
            self._screen.wake()

        self._between.do(job)
