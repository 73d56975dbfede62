"""What TCP's memory is made of, from a reading of it and of the connections. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from halfopen.core.sample.closing import MINI, OpenSockets
from halfopen.core.sample.listeners import Process
from halfopen.core.sample.memory import MemoryReading

# Slab objects behind a socket that a process holds: sock_inode_cache, filp, dentry, and what its security module adds.
_WITH_FILE: Final = ("sock_inode_cache", "filp", "dentry")
_SECURITY_BYTES: Final = 56
# Sizes where slabinfo is not shown, as on Linux 6.18 (docs/closing.md).
_SIZES: Final = {
    "request_sock_TCP": 320,
    "tw_sock_TCP": 256,
    "TCP": 2368,
    "sock_inode_cache": 832,
    "filp": 192,
    "dentry": 192,
}


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Things of one kind: how many, bytes of slab each, and pages of tcp_mem in all (None: none of their own)."""

    what: str
    count: int
    each_bytes: int
    pages: int | None = None

    @property
    def slab_bytes(self) -> int:
        """Bytes of kernel objects of all of them, without buffers."""
        return self.count * self.each_bytes


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """The connections of a process: how many, pages of tcp_mem they hold, and bytes that it has not read."""

    process: Process | None
    pid: int
    count: int
    pages: int
    unread_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class MemoryModel:
    """uses: by kind, of the namespace; by_process: with the most pages first."""

    reading: MemoryReading
    uses: tuple[MemoryUse, ...]
    by_process: tuple[ProcessMemory, ...]
    pinned_bytes: int


def build_memory(reading: MemoryReading, sockets: OpenSockets, half_open: int, listeners: int) -> MemoryModel:
    """The Model of a reading; half_open, listeners: how many request sockets and listeners the namespace has."""

    def size(name: str) -> int:
        return reading.slabs[name].object_bytes if name in reading.slabs else _SIZES[name]

    rows = sockets.rows
    is_mini, held = rows["flags"] & MINI != 0, rows["inode"] != 0
    with_file = size("TCP") + sum(map(size, _WITH_FILE)) + _SECURITY_BYTES
    orphaned = ~is_mini & ~held

    def pages(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
        return int(rows["pages"][mask].sum(dtype=np.int64))

    uses = (
        MemoryUse("listeners", listeners, with_file),
        MemoryUse("half-open", half_open, size("request_sock_TCP")),
        MemoryUse("held by a process", int(np.count_nonzero(held)), with_file, pages(held)),
        MemoryUse("not accepted, or orphaned", int(np.count_nonzero(orphaned)), size("TCP"), pages(orphaned)),
        MemoryUse("minisockets (TIME_WAIT)", int(np.count_nonzero(is_mini)), size("tw_sock_TCP")),
    )
    # Files and inodes of open sockets count as reclaimable, and are not.
    pinned = int(np.count_nonzero(held)) * (size("sock_inode_cache") + size("dentry"))
    return MemoryModel(reading, uses, _by_process(sockets), pinned)


def _by_process(sockets: OpenSockets) -> tuple[ProcessMemory, ...]:
    if sockets.pids is None:
        return ()
    pids, place, counts = np.unique(sockets.pids, return_inverse=True, return_counts=True)
    pages = np.bincount(place, weights=sockets.rows["pages"], minlength=len(pids))
    unread = np.bincount(place, weights=sockets.rows["unread"], minlength=len(pids))
    order = np.lexsort((-counts, -pages))
    return tuple(
        ProcessMemory(sockets.processes.get(pid), pid, int(counts[i]), int(pages[i]), int(unread[i]))
        for i, pid in zip(order.tolist(), pids[order].tolist(), strict=True)
        if pid
    )
