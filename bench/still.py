"""Quiet windows: times in which no SYN-ACK of a set of half-open connections is due to be sent again.

A set made in a few seconds is retransmitted in bursts 1, 3, 7, 15, 31, 63 … s later; a reading during one measures the
timers. The namespace's own count of retransmissions says exactly when a burst is over and whether one came in between.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

from inside import BenchError

from halfopen.core.model.timing import started_s
from halfopen.lab import Lab, LabListener
from halfopen.read import procfs

T = TypeVar("T")


class NoWindow(BenchError):
    """No quiet window is left that is long enough for this work; shorter work may still find one."""


# 8 retransmissions: the last quiet window ends after 367 s, when the kernel gives up.
RETRIES: Final = 8
_POLL_S: Final = 0.02
_MARGIN_S: Final = 0.05
_TRIES: Final = 4


def say(line: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"{line}\n")  # in one piece: threads may say something
    sys.stderr.flush()


class Still:
    """A set of `n` half-open connections of one lab, all made at once by this constructor, and its quiet windows.

    Raises: BenchError when the kernel did not take all of them.
    """

    def __init__(self, lab: Lab, listener: LabListener, n: int) -> None:
        self._lab = lab
        self.n = n
        self.waited_s = 0.0
        self._before = self._retransmissions()
        self._first_at = time.monotonic()
        if n:
            sent = lab.client.half_open(listener, n)
            self._first_at = float(sent.sent_at_s[0])
            if sent.lost or sent.settled(30) != n:
                raise BenchError(f"the kernel took {sent.held():,} of {n:,} half-open connections")

    def _retransmissions(self) -> int:
        return self._lab.server.run(procfs.counters)["RetransSegs"]

    def _left_s(self) -> float:
        """Seconds to the next burst; 0 during one."""
        bursts, rest = divmod(self._retransmissions() - self._before, self.n)
        if rest:
            return 0.0
        # Timers fire late, never early.
        return self._first_at + started_s(bursts + 1) - time.monotonic()

    def wait(self, need_s: float) -> None:
        """Wait until nothing will be retransmitted for `need_s`. Raises: NoWindow when none is long enough."""
        begun, told = time.monotonic(), False
        while self.n and self._left_s() < need_s + _MARGIN_S:
            age_s = time.monotonic() - self._first_at
            if age_s + need_s > started_s(RETRIES + 1):
                raise NoWindow(f"no quiet window of {need_s:.0f} s is left: the set is {age_s:.0f} s old")
            if not told and time.monotonic() - begun > 2:
                say(f"    waiting for a quiet window of {need_s:.1f} s (the set is {age_s:.0f} s old)")
                told = True
            time.sleep(_POLL_S)
        self.waited_s += time.monotonic() - begun

    def during(self, need_s: float, work: Callable[[], T]) -> T:
        """Do `work` in a quiet window; again, in a longer one, when it took so long that the window ended.

        Raises: NoWindow.
        """
        for _ in range(_TRIES):
            self.wait(need_s)
            before = self._retransmissions()
            begun = time.monotonic()
            result = work()
            if not self.n or self._retransmissions() == before:
                return result
            need_s = max(need_s, (time.monotonic() - begun) * 1.3)
            say(f"    disturbed by retransmissions; again with {need_s:.1f} s")
        raise NoWindow("the set does not keep still: retransmissions in every window")
