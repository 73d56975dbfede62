"""Delays signals that would end the process until the outcome of the action under way is recorded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

# Signals that end a process and can be caught (Python itself ignores SIGPIPE and SIGXFSZ).
_ENDING: Final = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
_LEFT_ALONE: Final = (signal.SIG_IGN, None)


@contextmanager
def held_off(stop: threading.Event) -> Iterator[None]:
    """Inside the block, a signal that would end the process only sets `stop`; the process ends after the block.

    Ctrl-C only sets `stop`; no KeyboardInterrupt follows. A handler that the program installed is called at once; an
    exception that it raises, other than KeyboardInterrupt, is raised after the block. Ignored signals stay ignored.
    Outside the main thread nothing changes, as Python runs signal handlers only there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    later: list[Callable[[], None]] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    try:
        for number, handler in before.items():
            # None: a handler that was not installed from Python, which signal.signal() could not restore.
            if handler not in _LEFT_ALONE:
                signal.signal(number, _stopping(stop, handler, later))
        yield
    finally:
        for number, handler in before.items():
            if handler not in _LEFT_ALONE:
                signal.signal(number, handler)
    for end in later:
        end()


def _stopping(
    stop: threading.Event, before: Any, later: list[Callable[[], None]]
) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, frame: FrameType | None) -> None:
        if not callable(before):
            stop.set()
            later.append(lambda: signal.raise_signal(number))
            return
        try:
            before(number, frame)
        except KeyboardInterrupt:
            stop.set()
        except BaseException as e:
            stop.set()
            later.append(_raising(e))

    return handler


def _raising(e: BaseException) -> Callable[[], None]:
    def end() -> None:
        raise e

    return end
