"""A line on the terminal while a command takes long. It disappears when the command is done, and is never written to a
pipe.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from halfopen.core.units import show_duration
from halfopen.present import language
from halfopen.present.language import cell_width, tr

# A command that takes longer shows its progress.
_PATIENCE_S: Final = 2.0
_REDRAW_S: Final = 0.25


@contextmanager
def progress(what: str, seconds: float | None = None) -> Iterator[None]:
    """Show `what` ("watching handshakes") and how long it has taken (of `seconds`, where known) on standard error.

    Nothing is shown if standard error is not a terminal, or if it takes only a few `seconds`. A thread draws the line,
    so enter a user namespace before.
    """
    if sys.stderr is None or not sys.stderr.isatty() or (seconds is not None and seconds <= _PATIENCE_S):
        yield
        return
    ended = threading.Event()
    drawer = threading.Thread(target=_draw, args=(what, seconds, ended), name="halfopen-progress", daemon=True)
    try:
        drawer.start()
    except RuntimeError:  # no thread could be started, and none is needed
        yield
        return
    try:
        yield
    finally:
        ended.set()
        drawer.join()


def line(what: str, passed_s: float, seconds: float | None) -> str:
    """The words of the line: `watching handshakes: 3 s of 10 s`."""
    if language.preferred() == language.ENGLISH:
        passed = show_duration(int(passed_s))
        return f"{what}: {passed}" if seconds is None else f"{what}: {passed} of {show_duration(seconds)}"
    # Only here: sentences load numpy, which a command that makes a user namespace must not have before.
    from halfopen.present.findings.words import lasted
    from halfopen.present.told import told

    with language.spoken():
        passed = lasted(int(passed_s))
        if seconds is not None:
            passed = tr("{passed} of {time}", passed=passed, time=lasted(seconds))
        return tr("{name}: {after}", name=told(what), after=passed)


def _draw(what: str, seconds: float | None, ended: threading.Event) -> None:
    began, drawn = time.monotonic(), 0
    try:
        if seconds is None and ended.wait(_PATIENCE_S):
            return
        while True:
            words = line(what, min(time.monotonic() - began, seconds or float("inf")), seconds)
            while cell_width(words) >= max(2, shutil.get_terminal_size().columns):
                words = words[:-1]
            sys.stderr.write(f"\r{words}{' ' * max(0, drawn - cell_width(words))}")
            sys.stderr.flush()
            drawn = max(drawn, cell_width(words))
            if ended.wait(_REDRAW_S):
                break
        # Clear what the terminal echoed for Ctrl-C as well.
        sys.stderr.write("\r" + " " * (drawn + 2) + "\r")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # a courtesy: the terminal is gone
