"""The sink of a watch that keeps its process small, as a watch may run for years."""

from __future__ import annotations

import gc
import time
from typing import Final

from halfopen.core.reports import Report, Round
from halfopen.linux import allocator

_EVERY_S: Final = 60.0


class Tidying:
    """Collects cyclic garbage once a minute.

    Commands raise the threshold of the garbage collector (`cli.main`), so that the garbage of a watch would stay for
    hours. Objects that exist after the first round are permanent and are not searched again (gc.freeze()), so a
    collection takes a millisecond.
    """

    def __init__(self) -> None:
        self._due: float | None = None

    def take(self, event: Report) -> None:
        """Take in a report."""
        if not isinstance(event, Round):
            return
        now = time.monotonic()
        if self._due is None:
            gc.collect()
            gc.freeze()
            # The threads that loaded programs left tens of megabytes of free memory.
            allocator.give_back()
        elif now >= self._due:
            gc.collect()
        else:
            return
        self._due = now + _EVERY_S
