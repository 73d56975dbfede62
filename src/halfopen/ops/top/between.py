"""The event that ends a watch, and the jobs that are done while the watch waits for its next reading.

Only one thread reads the kernel, so that no two use its loaded programs at once. What the screen asks for (a dry run, a
release, a diagnosis) is done by that thread between two readings.
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
    """A `StopEvent` that does jobs in its `wait`, in the thread of the watch. Jobs must not raise."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._busy = False

    def do(self, job: Callable[[], None]) -> None:
        """Queue a job for the next time that no reading is under way. May be called from any thread."""
        self._jobs.append(job)
        os.eventfd_write(self._bell, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """As `StopEvent.wait`, doing jobs meanwhile. A job that takes longer than `timeout` is not cut short."""
        if self._busy:  # a job itself waits on this event
            return super().wait(timeout)
        self._until(time.monotonic() + (_FOR_EVER_S if timeout is None else timeout), None)
        return self.is_set()

    def wait_for(self, fd: int, timeout: float) -> bool:
        """Wait until a descriptor can be read, doing jobs meanwhile as `wait` does. Returns whether it can be read."""
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
        """Sleep until there is something to do. Returns whether the descriptor can be read."""
        poll = select.poll()
        for one in (self._fd, self._bell, *(() if fd is None else (fd,))):
            poll.register(one, select.POLLIN)
        ready = dict(poll.poll(seconds * 1000))
        if self._bell in ready:
            os.eventfd_read(self._bell)
        return fd in ready

    def close(self) -> None:
        """Close the descriptor by which jobs wake the watch; `do` must not be called any more."""
        os.close(self._bell)
