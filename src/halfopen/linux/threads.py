"""Work handed to another thread, and its result or its exception handed back."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from halfopen.core.errors import KernelError

T = TypeVar("T")

_LOOK_UP_S: Final = 0.2
_BEGINS_WITHIN_S: Final = 1.0


class Job(Generic[T]):
    """One piece of work: another thread calls `run`, the thread that wants the result waits for `done`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._failure: BaseException | None = None
        self.begun, self.done = threading.Event(), threading.Event()

    def run(self) -> None:
        """Do the work and keep its result or exception."""
        self.begun.set()
        try:
            self._result.append(self._work())
        except BaseException as e:
            self._failure = e
        finally:
            self.done.set()

    def result(self) -> T:
        """The result of the work, once it is done. Raises: whatever the work raised."""
        if self._failure is not None:
            raise self._failure
        return self._result[0]


def in_thread(work: Callable[[], T], cancel: Callable[[], None] | None = None) -> T:
    """Run `work` in a short-lived thread, hand back its result or raise what it raised.

    With `cancel`, Ctrl-C calls it and goes on waiting, so that `work` ends in order; without, it raises
    KeyboardInterrupt. Raises: KernelError when no thread can be started, and whatever `work` raises.
    """
    job = Job(work)
    thread = threading.Thread(target=job.run, name="halfopen-netns", daemon=True)
    ended = False
    while not ended:
        try:
            if not job.begun.is_set():
                start(thread)
            # Not join() alone: interrupted, it may take a running thread for an ended one (CPython issue 89437). And
            # the kernel may hand a signal to the other thread, and then nothing wakes this one to act on it.
            while not job.done.wait(_LOOK_UP_S):
                pass
            ended = True
        except KeyboardInterrupt:
            # While the thread was being started: it may still begin, or never.
            if cancel is None or not job.begun.wait(_BEGINS_WITHIN_S):
                raise
            cancel()
    return job.result()


def start(thread: threading.Thread) -> None:
    """Start a thread. Raises: KernelError when none can be had."""
    try:
        thread.start()
    except RuntimeError as e:
        if "start new thread" not in str(e):
            raise
        raise KernelError(
            "starting a thread", errno.EAGAIN, hint="raise the limit (ulimit -u, ulimit -v, pids.max of the cgroup)"
        ) from None
