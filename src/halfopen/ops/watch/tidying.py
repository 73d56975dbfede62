"""The sink of a watch that keeps its process small, as one that may run for years."""

from __future__ import annotations

import gc
import time
from typing import Final

from halfopen.core.reports import Report, Round
from halfopen.linux import allocator

_EVERY_S: Final = 60.0


class Tidying:
    """Frees the garbage of cycles once a minute.

    A command looks for garbage only after very many new objects (`cli.main`), so what a watch leaves would stay for
    hours. What is there after the first round stays for good; it is not looked through again, so a search takes a
    millisecond.
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
            # The threads that loaded programs left tens of megabytes that nobody needs again.
            allocator.give_back()
        elif now >= self._due:
            gc.collect()
        else:
            return
        self._due = now + _EVERY_S
