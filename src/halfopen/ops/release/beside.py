"""Destroying with two threads while the door is held: one destroys while the other finds more victims."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from halfopen.change import destroy
from halfopen.ops.release import doors
from halfopen.ops.release.counts import ReleaseCounts, Stop
from halfopen.ops.release.doors import AnyDoor

if TYPE_CHECKING:
    from concurrent.futures import Future


class Second:
    """A thread that destroys, and its socket."""

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted."""
        # Imported here, before a door is held: it takes 1 MB, which a watch that releases nothing does not need.
        from concurrent.futures import ThreadPoolExecutor

        self.kill = destroy.open_socket()
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="halfopen-second")

    def close(self) -> None:
        """End the thread and close the socket."""
        self.pool.shutdown()
        self.kill.close()


@contextmanager
def second() -> Iterator[Second | None]:
    """A second thread; None on a machine with one CPU. Raises: as `Second`."""
    if len(os.sched_getaffinity(0)) < 2:
        yield None
        return
    made = Second()
    try:
        yield made
    finally:
        made.close()


class Destroying:
    """Destroys victims in batches, shared by the calling thread and the second one. At the end of the context, batches
    that wait are dropped, and neither thread is working.
    """

    def __init__(
        self, kill: socket, door: AnyDoor, counts: ReleaseCounts, stop: Stop, second: Second | None = None
    ) -> None:
        self._kill, self._door, self._counts, self._stop, self._second = kill, door, counts, stop, second
        self._waiting: deque[NDArray[Any]] = deque()
        self._beside = ReleaseCounts()
        self._running: Future[bool] | None = None

    def __enter__(self) -> Destroying:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        try:
            self._joined()
        finally:
            self._counts.add(self._beside)

    def take(self, rows: NDArray[Any]) -> bool:
        """Destroy these (dtype REQUEST, with cookies). About half may still wait for the second thread on return.
        False: it was interrupted on request, or the door has opened. Raises: as `doors.destroy`.
        """
        parts = [rows[start : start + destroy.BATCH] for start in range(0, len(rows), destroy.BATCH)]
        self._waiting.extend(parts)
        if len(parts) < 2 or self._second is None:
            return self._work(self._kill, self._counts)
        if self._running is None or self._running.done():
            if not self._joined():
                return False
            try:
                self._running = self._second.pool.submit(self._work, self._second.kill, self._beside)
            except RuntimeError:  # no thread can be started
                return self._work(self._kill, self._counts)
        return self._work(self._kill, self._counts, leave=len(parts) // 2)

    def finish(self) -> bool:
        """Destroy all that wait. Returns and raises as `take`."""
        return self._work(self._kill, self._counts) and self._joined()

    def _joined(self) -> bool:
        """Wait for the second thread, and return or raise its outcome."""
        running, self._running = self._running, None
        return running is None or running.result()

    def _work(self, kill: socket, counts: ReleaseCounts, leave: int = 0) -> bool:
        while len(self._waiting) > leave:
            if self._stop.is_set():
                return False
            try:
                batch = self._waiting.popleft()
            except IndexError:  # the other thread was faster
                return True
            self._stop.begin()
            if not doors.destroy(self._door, kill, batch, counts):
                return False
        return True
