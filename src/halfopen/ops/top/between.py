"""The event that ends a watch, and what is done while the watch waits for its next reading.

One thread reads the kernel: the programs that it has loaded are used by nobody else meanwhile. What the screen asks for
(a dry run, a release, a diagnosis) is done by that thread, between two readings.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from halfopen.linux.stopping import StopEvent

_FOR_EVER_S: Final = 3600.0


class Between(StopEvent):
    """A `StopEvent` whose `wait`, in the thread of the watch, does jobs. A job raises nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._busy = False

    def do(self, job: Callable[[], None]) -> None:
        """Have a job done as soon as no reading goes on. From any thread."""
        self._jobs.append(job)
        os.eventfd_write(self._bell, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """As of `StopEvent`; jobs are done meanwhile, and one that takes longer than the time is not cut short."""
        if self._busy:  # a job waits by the same event
            return super().wait(timeout)
        self._until(time.monotonic() + (_FOR_EVER_S if timeout is None else timeout), None)
        return self.is_set()

    def wait_for(self, fd: int, timeout: float) -> bool:
        """Wait until a descriptor can be read, doing jobs meanwhile as `wait` does; whether it can."""
        return self._until(time.monotonic() + timeout, fd)

    def _until(self, until: float, fd: int | None) -> bool:
        while not self.is_set():
            while self._jobs and not self.is_set():
                self._work(self._jobs.popleft())
            left = until - time.monotonic()
            if left <= 0:
                break
            if self._sleep(left, fd):
                return True
        return False

    def _work(self, job: Callable[[], None]) -> None:
        self._busy = True
        try:
            job()
        finally:
            self._busy = False

    def _sleep(self, seconds: float, fd: int | None) -> bool:
        """Sleep until something is to be done; whether the descriptor can be read."""
        poll = select.poll()
        for one in (self._fd, self._bell, *(() if fd is None else (fd,))):
            poll.register(one, select.POLLIN)
        ready = dict(poll.poll(seconds * 1000))
        if self._bell in ready:
            os.eventfd_read(self._bell)
        return fd in ready

    def close(self) -> None:
        """No job is taken any more."""
        os.close(self._bell)
