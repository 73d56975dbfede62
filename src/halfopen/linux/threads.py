"""Running a function in another thread, and returning its result or exception."""

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
    """A function call for another thread: that thread calls `run`, the caller waits for `done` and takes `result`."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._failure: BaseException | None = None
        self.begun, self.done = threading.Event(), threading.Event()

    def run(self) -> None:
        """Call the function and keep its result or exception."""
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
    """Run `work` in a short-lived thread; return its result or raise its exception.

    Ctrl-C calls `cancel`, if given, and waiting goes on until `work` has ended; otherwise it raises KeyboardInterrupt.
    Raises: KernelError if no thread can be started, and what `work` raises.
    """
    job = Job(work)
    thread = threading.Thread(target=job.run, name="halfopen-netns", daemon=True)
    ended = False
    while not ended:
        try:
            if not job.begun.is_set():
                start(thread)
            # Not join() alone: if it is interrupted, it may consider a running thread ended (CPython issue 89437). And
            # with a timeout, as the kernel may deliver a signal to the other thread, which does not wake this one to
            # handle it.
            while not job.done.wait(_LOOK_UP_S):
                pass
            ended = True
        except KeyboardInterrupt:
            # Interrupted while the thread was being started: it may or may not begin yet.
            if cancel is None or not job.begun.wait(_BEGINS_WITHIN_S):
                raise
            cancel()
    return job.result()


def start(thread: threading.Thread) -> None:
    """Start a thread. Raises: KernelError if that is not possible."""
    try:
        thread.start()
    except RuntimeError as e:
        if "start new thread" not in str(e):
            raise
        raise KernelError(
            "starting a thread", errno.EAGAIN, hint="raise the limit (ulimit -u, ulimit -v, pids.max of the cgroup)"
        ) from None
