"""The parts of TCP's memory, computed from a reading of the memory and of the connections. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.sample.closing import MINI, OpenSockets
from halfopen.core.sample.listeners import Process
from halfopen.core.sample.memory import MemoryReading

# Slab objects behind a socket that a process holds: sock_inode_cache, filp, dentry, and what its security module adds.
_WITH_FILE: Final = ("sock_inode_cache", "filp", "dentry")
_SECURITY_BYTES: Final = 56
# Sizes to use where slabinfo cannot be read: those of Linux 6.18 (docs/closing.md).
_SIZES: Final = {
    "request_sock_TCP": 320,
    "tw_sock_TCP": 256,
    "TCP": 2368,
    "sock_inode_cache": 832,
    "filp": 192,
    "dentry": 192,
}


# The values of MemoryUse.what, in this order.
KINDS: Final = ("listeners", "half-open", "held by a process", "not accepted, or orphaned", "minisockets (TIME_WAIT)")


class MemoryUse(Struct, frozen=True):
    """Objects of one kind: how many there are, bytes of slab of each, and pages of tcp_mem of all (None: the kind has
    none).
    """

    what: str
    count: int
    each_bytes: int
    pages: int | None = None

    @property
    def slab_bytes(self) -> int:
        """Bytes of kernel objects of all of them, without buffers."""
        return self.count * self.each_bytes


class ProcessMemory(Struct, frozen=True):
    """The connections of a process: how many, bytes of slab, pages of tcp_mem they hold, and bytes that it has not
    read.
    """

    process: Process | None
    pid: int
    count: int
    slab_bytes: int
    pages: int
    unread_bytes: int


class ListenerMemory(Struct, frozen=True):
    """The connections to a port on which a program listens: half-open ones, others (including TIME_WAIT), bytes of
    slab of both, and the pages of tcp_mem and unread bytes of the others.
    """

    port: int
    half_open: int
    count: int
    slab_bytes: int
    pages: int
    unread_bytes: int


class MemoryModel(Struct, frozen=True, eq=False):
    """uses: by kind, of the namespace; by_process, by_listener: with the most pages first."""

    reading: MemoryReading
    uses: tuple[MemoryUse, ...]
    by_process: tuple[ProcessMemory, ...]
    pinned_bytes: int
    by_listener: tuple[ListenerMemory, ...] = ()


def build_memory(
    reading: MemoryReading,
    sockets: OpenSockets,
    half_open: int,
    listeners: int,
    by_port: Mapping[int, int] | None = None,
) -> MemoryModel:
    """The Model of a reading; half_open, listeners: how many request sockets and listeners the namespace has. by_port:
    how many request sockets each port has that is listened on.
    """

    def size(name: str) -> int:
        return reading.slabs[name].object_bytes if name in reading.slabs else _SIZES[name]

    rows = sockets.rows
    is_mini, held = rows["flags"] & MINI != 0, rows["inode"] != 0
    with_file = size("TCP") + sum(map(size, _WITH_FILE)) + _SECURITY_BYTES
    orphaned = ~is_mini & ~held

    def pages(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
        return int(rows["pages"][mask].sum(dtype=np.int64))

    uses = (
        MemoryUse(KINDS[0], listeners, with_file),
        MemoryUse(KINDS[1], half_open, size("request_sock_TCP")),
        MemoryUse(KINDS[2], int(np.count_nonzero(held)), with_file, pages(held)),
        MemoryUse(KINDS[3], int(np.count_nonzero(orphaned)), size("TCP"), pages(orphaned)),
        MemoryUse(KINDS[4], int(np.count_nonzero(is_mini)), size("tw_sock_TCP")),
    )
    # Files and inodes of open sockets count as reclaimable but cannot be reclaimed.
    pinned = int(np.count_nonzero(held)) * (size("sock_inode_cache") + size("dentry"))
    each = np.where(is_mini, size("tw_sock_TCP"), np.where(held, with_file, size("TCP")))
    processes = (
        [] if sockets.pids is None else [(pid, sums) for pid, *sums in _sums(sockets, sockets.pids, each) if pid]
    )
    waiting = by_port or {}
    came = {port: sums for port, *sums in _sums(sockets, rows["local_port"], each) if port in waiting}
    request = size("request_sock_TCP")
    ports = [
        ListenerMemory(port, n, count, n * request + slab, held_pages, unread)
        for port, n in waiting.items()
        for count, slab, held_pages, unread in [came.get(port, (0, 0, 0, 0))]
        if n or count
    ]
    return MemoryModel(
        reading,
        uses,
        tuple(ProcessMemory(sockets.processes.get(pid), pid, *sums) for pid, sums in processes),
        pinned,
        tuple(sorted(ports, key=lambda one: (-one.pages, -one.slab_bytes))),
    )


def _sums(sockets: OpenSockets, keys: NDArray[Any], each: NDArray[Any]) -> list[tuple[int, int, int, int, int]]:
    """For each key, once: how many sockets have it, their bytes of slab, pages and unread bytes; the most pages first.

    keys (N,): of the N sockets. each (N,): the bytes of slab of each.
    """
    found, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    slab, pages, unread = (
        np.bincount(place, weights=column, minlength=len(found)).astype(np.int64)
        for column in (each, sockets.rows["pages"], sockets.rows["unread"])
    )
    order = np.lexsort((-counts, -pages))
    table = np.column_stack((found, counts, slab, pages, unread))[order]
    return [tuple(row) for row in table.tolist()]
