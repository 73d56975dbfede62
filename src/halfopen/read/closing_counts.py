"""How many connections are in each state, for a process that reads repeatedly: counted now and then, by eBPF."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.model.closing_glance import MANY
from halfopen.core.sample.closing import SocketCounts
from halfopen.read import closing, procfs
from halfopen.read.probe import Draft, Probe

# A count walks the whole hash, which all namespaces share: at most this often, and for at most this share of the time.
_EVERY_S: Final = 15.0
_SHARE: Final = 0.005
# Namespaces with few sockets are not counted; their totals in /proc are looked at again this often.
_FEW_S: Final = 5.0


class SocketCounter:
    """The counts of namespaces by inode, as last counted; none where there are fewer than MANY connections."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, SocketCounts | None]] = {}

    def probe(self, inode: int) -> Probe:
        """The probe of a namespace's counts; the part is empty if counting is not permitted."""
        return Probe("connections by state", ("bpf:closing",), lambda draft: self._count(inode, draft))

    def forget(self, inode: int) -> None:
        """Drop the counts of a namespace that is gone."""
        self._last.pop(inode, None)

    def keep(self, inodes: Collection[int]) -> None:
        """Drop the counts of all other namespaces: they are gone."""
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
