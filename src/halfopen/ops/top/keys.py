"""The loop of a screen, which keys and news wake to draw."""

from __future__ import annotations

import time
from typing import Final

from msgspec.structs import replace

from halfopen.core.live import Live
from halfopen.linux.tty import Screen
from halfopen.ops.release.steady import steady
from halfopen.present.language import spoken
from halfopen.present.screen.drawing import draw, scrolled_most
from halfopen.present.screen.frame import too_small
from halfopen.present.screen.keyboard import KeyDecoder
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.pressing import press
from halfopen.present.screen.state import ScreenState, Wish

# Within this time after an Escape, even a slow line delivers the rest of a special key's sequence.
_ESCAPE_S: Final = 0.05


class KeyLoop:
    """The screen of one program, from its first frame until it is left. ascii_only: no blocks in sparklines.

    A program says what it shows and does in `_newest`, `_drawn_state`, `_grant` and `_patience_s`.
    """

    def __init__(self, screen: Screen, painter: Painter, state: ScreenState, *, ascii_only: bool) -> None:
        self._screen, self._painter, self._ascii_only = screen, painter, ascii_only
        self._state = state
        self._shown = Live()
        self._quit = False

    def quit(self) -> None:
        """Leave the screen in order. May be called from a signal handler or any thread."""
        self._quit = True
        self._screen.wake()

    def _loop(self) -> None:
        keys, typed_s = KeyDecoder(), 0.0
        while not self._quit:
            typed = self._screen.wait(_ESCAPE_S if keys.waits else self._patience_s())
            if typed is None:
                break
            now = time.monotonic()
            # A reading may have ended the wait early, so only the time tells that nothing follows an Escape.
            pressed = keys.take(typed) if typed else keys.flush() if now - typed_s >= _ESCAPE_S else []
            typed_s = now if typed else typed_s
            for key in pressed:
                self._press(key)
            self._take_news()
            if self._screen.to_suspend:
                self._suspend()
            if not self._quit:
                self._draw()

    def _draw(self) -> None:
        if self._screen.resized:
            self._screen.resized = False
            self._painter.forget()
        columns, rows = self._screen.size()
        with spoken():
            self._shown = self._newest()
            lines = draw(self._shown, self._drawn_state(), columns, rows, ascii_only=self._ascii_only)
        self._screen.show(self._painter.paint(lines, columns, rows))

    def _suspend(self) -> None:
        self._screen.to_suspend = False
        # Never stop the process in the middle of a release.
        with steady.alone():
            self._screen.suspend()
        self._painter.forget()

    def _press(self, key: str) -> None:
        with spoken():
            columns, rows = self._screen.size()
            if too_small(columns, rows):
                # Nothing of what a key does would be seen here; nobody should answer a question that cannot be read.
                if key == "q":
                    self.quit()
                return
            self._state, wish = press(self._state, key, self._shown, rows)
            if self._state.top:
                # Stop at the end; else as many keys would be needed to come back as were pressed beyond it.
                most = scrolled_most(self._shown, self._state, columns, rows)
                self._state = replace(self._state, top=min(self._state.top, most))
            if wish is Wish.QUIT:
                self.quit()
            elif wish is Wish.REDRAW:
                self._painter.forget()
            elif wish is not None:
                self._grant(wish)

    def _take_news(self) -> None:
        """Take in the news since the last frame."""

    def _newest(self) -> Live:
        """What there is to show."""
        raise NotImplementedError

    def _drawn_state(self) -> ScreenState:
        """The state as it is drawn now."""
        return self._state

    def _patience_s(self) -> float | None:
        """How many seconds to wait for a key or news; None: without limit."""
        return None

    def _grant(self, wish: Wish) -> None:
        """Do what a key asks for."""
        raise NotImplementedError
