"""SIGINT and SIGTERM, from the first line of the entry point to the last: one way to end, and never a traceback.

At first a signal ends the process at once, as there is nothing to put in order. Then it raises KeyboardInterrupt, but
not in the middle of an import: modules in C print what they are interrupted by, and some wrap it in another error. At
the end it is ignored: the exit code is settled. The enum module, which `signal` needs, takes longer to import than all
of this.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType
    from typing import Final
else:
    import _signal as signal

INTERRUPTED: Final = 130
# After a signal has raised, the interrupted work has this long to clean up before another signal raises.
_PATIENCE_S: Final = 2.0
_AGAIN_S: Final = 0.005
_STARTING, _RUNNING, _OVER = range(3)


class _State:
    phase = _STARTING
    first: Callable[[int], None] | None = None
    waiting = 0  # the number of a signal that came in the middle of an import
    raised_s = -_PATIENCE_S


def begin() -> None:
    """Take charge of both signals; one that is ignored from the start, as SIGINT by nohup, stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _came)
    signal.signal(signal.SIGALRM, _look_again)
    sys.unraisablehook = _unraisable


def run() -> None:
    """From now on a signal raises KeyboardInterrupt."""
    _State.phase = _RUNNING


def over() -> None:
    """From now on a signal is ignored, by the interpreter's own end as well."""
    _State.phase = _OVER
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def take_first(act: Callable[[int], None]) -> None:
    """Let the first signal call `act` with its number instead of raising; the second raises. SIGINT counts even where
    it was ignored."""
    _State.first = act
    if _State.phase == _RUNNING:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _came)


def hang_up(act: Callable[[], None]) -> None:
    """Let SIGHUP call `act`, which only notes that it came, instead of ending the process."""
    signal.signal(signal.SIGHUP, lambda _, __: act())


def with_terminal(act: Callable[[], None]) -> None:
    """As `hang_up`, for a terminal that is closed or an SSH connection that breaks; where SIGHUP is ignored from the
    start, as by nohup, it stays ignored.
    """
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        hang_up(act)


def stop_between(alone: Callable[[], AbstractContextManager[object]]) -> None:
    """Let Ctrl-Z stop the process only inside the context that `alone` makes."""

    def stop(_: int, __: FrameType | None) -> None:
        with alone():
            os.kill(os.getpid(), signal.SIGSTOP)

    if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, stop)


def _came(number: int, frame: FrameType | None) -> None:
    if _State.phase == _STARTING:
        os._exit(INTERRUPTED)
    if _State.phase == _RUNNING:
        _raise(number, frame)


def _look_again(_: int, frame: FrameType | None) -> None:
    number, _State.waiting = _State.waiting, 0
    if number and _State.phase == _RUNNING:
        _raise(number, frame)


def _raise(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        _wait(number)
        return
    act, _State.first = _State.first, None
    if act is not None:
        act(number)
        return
    now = time.monotonic()
    if now - _State.raised_s >= _PATIENCE_S:
        _State.raised_s = now
        raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _wait(number: int) -> None:
    _State.waiting = number
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _unraisable(what: sys.UnraisableHookArgs) -> None:
    """The hook for exceptions that cannot be raised, as in the end of a generator. An interrupt is raised anew."""
    if isinstance(what.exc_value, KeyboardInterrupt):
        _State.raised_s = -_PATIENCE_S
        _wait(signal.SIGINT)
    else:
        sys.__unraisablehook__(what)
