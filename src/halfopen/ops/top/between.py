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
        until = time.monotonic() + (_FOR_EVER_S if timeout is None else timeout)
        while not self.is_set():
            while self._jobs and not self.is_set():
                self._work(self._jobs.popleft())
            left = until - time.monotonic()
            if left <= 0:
                break
            self._sleep(left)
        return self.is_set()

    def _work(self, job: Callable[[], None]) -> None:
        self._busy = True
        try:
            job()
        finally:
            self._busy = False

    def _sleep(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        if self._bell in dict(poll.poll(seconds * 1000)):
            os.eventfd_read(self._bell)

    def close(self) -> None:
        """No job is taken any more."""
        os.close(self._bell)
