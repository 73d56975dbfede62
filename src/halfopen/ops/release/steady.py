"""Sections of a release that a stop of the process must not interrupt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# The thread inside has one batch to destroy; if something has gone wrong, the other waits no longer than this.
_PATIENCE_S: Final = 2.0


class Steady:
    """A context that many threads may be in at a time; `alone` waits until none is, and lets none in."""

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
        """Nobody is inside."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside, _PATIENCE_S)
            yield


# Held from asking whether a door is still held until its connections are destroyed. A process that is stopped in
# between would destroy, when it goes on, what has completed meanwhile: a stop that can be put off (Ctrl-Z) waits.
steady: Final = Steady()
