"""The times of handshakes for the metrics, summed by namespace since the watch began."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.model.distinct import distinct
from halfopen.core.model.handshake_times import HandshakeTimes, handshake_times
from halfopen.core.sample.handshakes import HandshakeCounters
from halfopen.read.bpf.handshakes import ROOM, HandshakePrograms

_NONE: Final = HandshakeTimes()


class WatchedTimes:
    """Counts handshakes that finish, by eBPF; counts nothing if that is refused. Close it at the end."""

    def __init__(self) -> None:
        self._programs: HandshakePrograms | None = None
        self._refused = False
        self._inodes: frozenset[int] = frozenset()
        # The counts of keys that were removed from the program's map since.
        self._kept: dict[int, HandshakeTimes] = {}

    @property
    def counting(self) -> bool:
        """Whether handshakes are counted."""
        return self._programs is not None

    def watch(self, inodes: Collection[int]) -> None:
        """Set the namespaces whose handshakes are counted."""
        if self._refused or self._inodes == set(inodes):
            return
        self._inodes = frozenset(inodes)
        self._kept = {inode: times for inode, times in self._kept.items() if inode in self._inodes}
        only = next(iter(self._inodes)) if len(self._inodes) == 1 else 0
        if self._programs is not None:
            self._programs.only(only)
            return
        try:
            self._programs = HandshakePrograms(only, arrivals=False)
        except HalfopenError:
            self._refused = True  # the metric halfopen_handshakes_counted says so

    def read(self) -> dict[int, HandshakeTimes]:
        """The times of each namespace since the watch began, by inode; empty if nothing is counted.

        Raises: KernelError.
        """
        if self._programs is None:
            return {}
        now = self._programs.read()
        netns = now.keys["netns"]
        found = {inode: self._kept.get(inode, _NONE) for inode in self._inodes}
        if not len(now.keys):
            return found
        for inode in distinct(netns).tolist():
            if inode in found:
                found[inode] += handshake_times(now.counters[netns == inode])
        self._forget(self._programs, now, netns, found)
        return found

    def _forget(
        self, programs: HandshakePrograms, now: HandshakeCounters, netns: NDArray[Any], found: dict[int, HandshakeTimes]
    ) -> None:
        """Make room before the map is full: listeners come and go."""
        gone = ~np.isin(netns, list(self._inodes))
        if gone.any():
            programs.forget(now.keys[gone])
        if len(now.keys) > ROOM // 2:
            self._kept = dict(found)
            programs.forget(now.keys[~gone])

    def close(self) -> None:
        """Stop counting."""
        if self._programs is not None:
            self._programs.close()
            self._programs, self._refused = None, True
