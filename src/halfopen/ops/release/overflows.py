"""For releases without eBPF: which requests may have answered, as of the moment before each destroy.

The kernel ignores the last ACK of a handshake while the accept queue is full, and the request does not show it
(`answered`). Such an ACK increments ListenOverflows of the namespace: a short read before each destroy shows whether
there was one since the listeners were read, and only then they are read again.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.model import answered, join
from halfopen.core.sample import REQUEST
from halfopen.core.sample.growing import plain
from halfopen.core.victims import certain
from halfopen.linux.sockets import open_sock_diag
from halfopen.ops.release.counts import ReleaseCounts
from halfopen.read import procfs, sockdiag


class Overflows:
    """What is known about ignored ACKs in the calling thread's namespace. Call `begin` and `end` for each
    pass; close it.
    """

    def __init__(self, calm: answered.Calm | None) -> None:
        """calm: what earlier readings say. Raises: as `sockdiag.listeners`."""
        self._calm = calm
        self._spared: Counter[answered.Reason] = Counter()
        # The requests that `certain` returned last, to be destroyed at once; and how many may have answered before
        # that.
        self._last: NDArray[Any] = np.empty(0, dtype=REQUEST)
        self._late = 0
        self._counter = procfs.Counter(answered.OVERFLOWS)
        try:
            self._look()
        except BaseException:
            self._counter.close()
            raise

    def _look(self) -> None:
        # The counter is read first, so that an ACK that is ignored during the dump changes it.
        self._at = self._counter.read()
        counters = dict(procfs.counters())
        if self._at is not None:
            counters[answered.OVERFLOWS] = self._at
        with open_sock_diag() as s:
            listeners, shaken = sockdiag.listeners(s)
        self._doubt = answered.doubt(
            listeners, join.groups(listeners), counters, procfs.settings(), self._calm, whole=not shaken
        )

    def _look_again(self) -> None:
        """Read the listeners again if an ACK was ignored since."""
        at = self._counter.read()
        if at is None or at != self._at:
            self._look()
            may, _ = self._doubt.of_rows(self._last, answered.born_s(self._last, time.monotonic()))
            self._late += int(np.count_nonzero(may))
        self._last = self._last[:0]

    def begin(self) -> None:
        """Begin a pass: reset the number of spared requests."""
        self._spared.clear()

    def certain(self, victims: NDArray[Any], *, destroyed: bool = True) -> NDArray[Any]:
        """Of N requests that were just read, (N,) REQUEST, those whose clients cannot have answered, (K,) REQUEST.

        destroyed: they will be destroyed at once; False: they are only counted.
        """
        if not len(victims):
            return victims
        self._look_again()
        if self._doubt.any:
            may, count = self._doubt.of_rows(victims, answered.born_s(victims, time.monotonic()))
            self._spared += count
            victims = victims[certain(np.ones(len(victims), dtype=bool), may).mask] if may.any() else victims
        if destroyed:
            self._last = plain(victims).copy().view(REQUEST)
        return victims

    def end(self, counts: ReleaseCounts) -> None:
        """End a pass: count the requests that it spared."""
        self._look_again()
        counts.may_have_answered = sum(self._spared.values())

    def notes(self) -> list[str]:
        """The number spared in the last pass, and why."""
        said = []
        n = sum(self._spared.values())
        if n:
            why = answered.why(self._spared)
            said = [f"{n:,} spared: {why}; without eBPF it is unknown whether these clients have answered"]
        if self._late:
            said.append(
                f"an accept queue overflowed meanwhile: at most {self._late:,} of the released clients may just "
                "have answered"
            )
        return said

    def close(self) -> None:
        """Close the counter."""
        self._counter.close()
