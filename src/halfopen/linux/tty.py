"""The terminal as a full screen: single keys, the alternate screen, and everything restored at the end."""

from __future__ import annotations

import os
import select
import signal
import termios
from types import FrameType, TracebackType
from typing import Any, Final

from halfopen.core.errors import UsageError
from halfopen.linux.tty_keeper import TtyKeeper

# Enter and leave: the alternate screen, no cursor, no wrapping of lines.
_ENTER: Final = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
_LEAVE: Final = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_DUMB: Final = ("", "dumb", "unknown")
_READ_MOST: Final = 4096
# Replacements for characters that a terminal without UTF-8 lacks or shows two cells wide.
_PLAINER: Final = str.maketrans("…─│└┤┴●█", ".-|+++o#")


def check() -> None:
    """Check that standard input and output are a terminal that can show a full screen. Raises: UsageError."""
    for fd, name in ((0, "input"), (1, "output")):
        if not os.isatty(fd):
            raise UsageError(
                f"halfopen top needs a terminal: standard {name} is not one",
                hint="halfopen status shows one reading, halfopen watch prints lines",
            )
    kind = os.environ.get("TERM", "")
    if kind in _DUMB:
        raise UsageError(
            f"halfopen top needs a terminal with a screen: TERM is {kind!r}", hint="halfopen watch prints lines"
        )


def has_colours() -> bool:
    """Whether the terminal has colours (by terminfo) and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR"):
        return False
    import _curses

    try:
        _curses.setupterm(None, 1)
        return _curses.tigetnum("colors") >= 8
    except _curses.error:  # not in terminfo: assume colours, as most terminals have them
        return True


def encoded(text: str, encoding: str) -> bytes:
    """The text in the terminal's encoding; `?` for a character that it lacks."""
    if not encoding.lower().startswith("utf"):
        text = text.translate(_PLAINER)
    return text.encode(encoding, "replace")


class Screen:
    """The terminal of this process, as a full screen inside a `with`. Signals that concern the terminal wake `wait`.

    encoding: of the output. resized: the size has changed. to_suspend: Ctrl-Z was typed. The caller resets both.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self._saved: list[Any] = termios.tcgetattr(0)
        self._keeper: TtyKeeper | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._handlers: dict[int, Any] = {}
        self.resized = False
        self.to_suspend = False

    def __enter__(self) -> Screen:
        try:
            self._keeper = TtyKeeper(1, self._saved, _LEAVE)
        except OSError:
            self._keeper = None  # it is only a precaution
        for number, act in ((signal.SIGWINCH, self._on_resize), (signal.SIGTSTP, self._on_stop)):
            self._handlers[number] = signal.signal(number, act)
        self.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            self.leave()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            if self._keeper is not None:
                self._keeper.close()
            os.close(self._wake)

    def enter(self) -> None:
        """Switch to the full screen."""
        raw = [*self._saved[:6], [*self._saved[6]]]
        raw[0] &= ~(termios.IXON | termios.ICRNL)
        raw[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        if self._keeper is not None:
            self._keeper.inside(True)
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        self._write(_ENTER)

    def leave(self) -> None:
        """Restore the terminal."""
        try:
            self._write(_LEAVE)
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # the terminal is gone
        if self._keeper is not None:
            self._keeper.inside(False)

    def suspend(self) -> None:
        """Restore the terminal, stop this process as Ctrl-Z does, and switch to the full screen again when it
        continues.
        """
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            found = os.get_terminal_size(1)
        except OSError:
            return 80, 24
        # A terminal that does not know its size says 0.
        return found.columns or 80, found.lines or 24

    def show(self, text: str) -> None:
        """Write to the terminal. Raises: OSError if it is gone."""
        if text:
            self._write(encoded(text, self._encoding))

    def wake(self) -> None:
        """End a `wait`, from any thread and from a signal handler."""
        try:
            os.eventfd_write(self._wake, 1)
        except OSError:
            pass

    def wait(self, seconds: float | None) -> bytes | None:
        """Wait for input and return it; b"" when time is up or `wake` was called; None: the terminal is gone."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ready = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if 0 not in ready:
            return b""
        try:
            return os.read(0, _READ_MOST) or None
        except OSError:
            return None

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]

    def _on_resize(self, _: int, __: FrameType | None) -> None:
        self.resized = True
        self.wake()

    def _on_stop(self, _: int, __: FrameType | None) -> None:
        self.to_suspend = True
        self.wake()
