"""An event that a signal handler may set."""

from __future__ import annotations

import os
import select
import threading
import weakref


class StopEvent(threading.Event):
    """A `threading.Event` without locks that can be set once, from any thread and from a signal handler.

    A handler runs in the main thread, between any two bytecodes. If it interrupts `threading.Event.wait` while that
    holds the event's lock, `set` in the handler would wait for the lock forever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._set = False
        # A pipe: after the first write it is readable for every thread that waits.
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._fd)

    def is_set(self) -> bool:
        """As `threading.Event.is_set`."""
        return self._set

    def set(self) -> None:
        """As `threading.Event.set`, also in a signal handler."""
        if not self._set:
            self._set = True
            os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Not supported. Raises: NotImplementedError."""
        raise NotImplementedError("what was stopped does not go on")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds (None: forever). Returns whether it is set."""
        if not self._set and (timeout is None or timeout > 0):
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(None if timeout is None else timeout * 1000)
        return self._set
