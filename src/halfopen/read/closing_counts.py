"""How many connections are in each state, for a process that reads again and again: counted now and then, by eBPF."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.model.closing_glance import MANY
from halfopen.core.sample.closing import SocketCounts
from halfopen.read import closing, procfs
from halfopen.read.probe import Draft, Probe

# A count goes through the whole hash, which all namespaces share: so rarely, and for at most so much of the time.
_EVERY_S: Final = 15.0
_SHARE: Final = 0.005
# Where they were few, the totals are looked at again so often.
_FEW_S: Final = 5.0


class SocketCounter:
    """The counts of namespaces by inode, as last counted; none where there are fewer than MANY connections."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, SocketCounts | None]] = {}

    def probe(self, inode: int) -> Probe:
        """The probe of a namespace's counts; what it may not count is left out."""
        return Probe("connections by state", ("bpf:closing",), lambda draft: self._count(inode, draft))

    def forget(self, inode: int) -> None:
        """The namespace is gone."""
        self._last.pop(inode, None)

    def keep(self, inodes: Collection[int]) -> None:
        """There are no other namespaces."""
        if len(self._last) > len(inodes):
            self._last = {inode: last for inode, last in self._last.items() if inode in inodes}

    def _count(self, inode: int, draft: Draft) -> SocketCounts | None:
        due_s, counts = self._last.get(inode, (0.0, None))
        began = time.monotonic()
        if began < due_s and counts is None:
            return None
        in_use, waiting = procfs.socket_totals()
        if in_use + waiting - len(draft.listeners) < MANY:
            self._last[inode] = (began + _FEW_S, None)
            return None
        if began < due_s:
            return counts
        try:
            counts = closing.count()
        except HalfopenError:
            return None
        took_s = time.monotonic() - began
        self._last[inode] = (began + max(_EVERY_S, took_s / _SHARE), counts)
        return counts
