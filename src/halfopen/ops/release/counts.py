"""The counts of a release while it runs, and the one place where it destroys."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from socket import socket
from typing import Any

from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.change import destroy
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import sockdiag


class Stop(Struct):
    """Ends a release after the current batch: when `asked` is set, or `within_s` (None: never) after the first destroy.

    The time before the first destroy does not count, so that every release makes progress.
    """

    asked: threading.Event
    within_s: float | None = None
    _began: float | None = None

    def begin(self) -> None:
        """Start the time, before the first destroy."""
        if self._began is None:
            self._began = time.monotonic()

    def is_set(self) -> bool:
        """Whether to end now."""
        if self.within_s is not None and self._began is not None and time.monotonic() - self._began > self.within_s:
            return True
        return self.asked.is_set()


class ReleaseCounts(Struct):
    """The counts of `core.policy.actions.Released`, as they grow.

    held: the door was held. notes: what was done in another way than usual, and what follows.
    """

    matched: int = 0
    released: int = 0
    gone: int = 0
    failed: int = 0
    left: int = 0
    spared: int = 0
    untouched: int = 0
    may_have_answered: int = 0
    held: bool = False
    windows_s: list[float] = field(default_factory=list)
    interrupted: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: ReleaseCounts) -> None:
        """Add the counts of another part of the same release."""
        self.matched += other.matched
        self.released += other.released
        self.gone += other.gone
        self.failed += other.failed
        if other.windows_s:
            self.windows_s += other.windows_s
            self.held = False
        self.problems += [p for p in other.problems if p not in self.problems]

    def destroy(self, kill: socket, victims: NDArray[Any], read_at: float | None = None) -> None:
        """Destroy victims, (N,) REQUEST, and count the results.

        read_at: when they were read (s, monotonic clock), if they may have completed since. On an exception, the
        results so far are counted.
        """
        done = destroy.Counts()
        try:
            destroy.destroy(kill, victims, done)
        finally:
            # Count what was done, whatever interrupts it.
            self.released += done.released
            self.gone += done.gone
            self.failed += done.failed
        if read_at is not None:
            self.windows_s.append(time.monotonic() - read_at)
        if done.failed:
            note = f"the kernel refused to destroy some: {os.strerror(done.errno)}"
            if note not in self.problems:
                self.problems.append(note)


def slices(code: bytes, counts: ReleaseCounts, *, stretch: int | None = 0) -> Iterator[tuple[float, NDArray[Any]]]:
    """Slices of a dump, (n,) REQUEST, each with the time (s, monotonic clock) before which its content cannot have been
    read.

    stretch: 0 for each recv() on its own, as fresh as can be; None for long ones.
    """
    # A new socket for each dump: on a socket with an unfinished dump, the next one fails with EBUSY.
    with open_sock_diag() as look:
        # The kernel fills the next slice when it hands out the last one, so a slice is as old as the recv() before.
        filled = asked = time.monotonic()
        for part in sockdiag.slices(look, code, stretch=stretch):
            counts.interrupted |= part.interrupted
            # A single recv() is destroyed as a whole; of a long stretch, copying would cost more than its pieces do.
            for rows in part.parts if stretch is None else (part.requests,):
                yield filled, rows
            filled, asked = asked, time.monotonic()
