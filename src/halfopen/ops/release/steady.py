"""Sections of a release that a stop of the process must not interrupt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# How long `alone` waits at most: a thread inside only destroys one batch, so more means that something went wrong.
_PATIENCE_S: Final = 2.0


class Steady:
    """A context that many threads may be in; `alone` waits until none is, and lets none in."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """A context in which no other thread is inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside, _PATIENCE_S)
            yield


# Entered from checking that a door is still held until its connections are destroyed. If the process were stopped in
# between, it would later destroy connections that have completed: a stop that can be delayed (Ctrl-Z) waits.
steady: Final = Steady()
