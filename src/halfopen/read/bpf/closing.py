"""Sockets that are open or closing, by eBPF: a walk through the kernel's hash (bpf/closing.bpf.c), or the kernel's
iterator (bpf/closing_iter.bpf.c) where that is refused.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import Unsupported
from halfopen.core.sample.closing import ADDRESSES, SOCKET, STATES, WIDE, SocketCounts
from halfopen.core.sample.growing import Growing
from halfopen.linux.bpf.iterating import received
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.read import procfs
from halfopen.wire import bpf_records

# As in bpf/hash.bpf.h.
_ROOM: Final = 512 * 1024
_CLOCK_MONOTONIC_COARSE: Final = 6
_RECORDS: Final = {"socket_record": SOCKET, "socket_wide": bpf_records.SOCKET_WIDE}
_COUNTS: Final = np.dtype([("each", "<u4", (STATES,))])


class _Gathered:
    """Sockets, collected piece by piece."""

    def __init__(self) -> None:
        self._rows, self._wide = Growing(SOCKET, sum(procfs.socket_totals())), Growing(ADDRESSES)

    def add(self, piece: memoryview) -> None:
        """Raises: WireError."""
        rows, wide = bpf_records.sockets(piece)
        if len(wide):
            rows["remote"][rows["flags"] & WIDE != 0] += self._wide.count
            self._wide.add(wide)
        self._rows.add(rows)

    def take(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """All sockets, (N,) SOCKET, and the addresses of the IPv6 ones, (M,) ADDRESSES."""
        return self._rows.take(), self._wide.take()


class _Sockets(Closable):
    """A loaded program that writes sockets. One reading at a time, from any thread; close it, or use it as a context
    manager.
    """

    def __init__(self, name: str) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._lock = threading.Lock()
        self._loaded = Loaded(name, _RECORDS)
        try:
            self._states = self._loaded.variable("states", "<u4")
            self._loaded.variable("page_shift", "<u4")[0] = mmap.PAGESIZE.bit_length() - 1
            # CLOCK_MONOTONIC_COARSE advances once a jiffy, so its resolution is the length of a jiffy.
            jiffy_ms = time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1000
            self._loaded.variable("jiffy_ms", "<u4")[0] = round(jiffy_ms * (1 << 20))
            self._prepare()
        except BaseException:
            self._loaded.close()
            raise

    def close(self) -> None:
        """Unload the program."""
        self._loaded.close()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _pieces(self) -> Generator[memoryview, None, None]:
        raise NotImplementedError

    def read(self, states: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The sockets of the calling thread's namespace in these states (one bit each), (N,) SOCKET, and the addresses
        of the IPv6 ones, (M,) ADDRESSES.

        Raises: Unsupported if a chain of the table cannot be followed, NotPermitted, KernelError, WireError.
        """
        gathered = _Gathered()
        with self._lock:
            self._states[0] = states
            # Closed now, not when it is garbage-collected: the generator may hold a descriptor.
            with closing(self._pieces()) as pieces:
                for piece in pieces:
                    gathered.add(piece)
        return gathered.take()


class SocketWalk(_Sockets):
    """The walk: Linux 6.2 and newer. It takes no lock of the kernel."""

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        super().__init__("closing")

    def _prepare(self) -> None:
        names = ("bucket", "buckets", "last", "used", "no_room", "torn", "counting", "orphaned")
        (
            self._bucket,
            self._buckets,
            self._last,
            self._used,
            self._no_room,
            self._torn,
            self._counting,
            self._orphaned,
        ) = (self._loaded.variable(name, "<u4") for name in names)
        self._counts = self._loaded.variable("counts", _COUNTS)
        self._loaded.run("begin")
        # The kernel's hash always has a power of two of chains: anything else was read from the wrong place.
        if not self._buckets[0] or self._buckets[0] & (self._buckets[0] - 1):
            raise Unsupported("bpf:closing", "this kernel's hash of connections is not where the eBPF program looks")
        self._room = memoryview(self._loaded.window("rooms", _ROOM)).cast("B")

    def count(self) -> SocketCounts:
        """How many sockets of the calling thread's namespace are in each state; cheaper than reading them.

        Raises: NotPermitted, KernelError.
        """
        with self._lock:
            self._counting[0] = 1
            try:
                for _ in self._pieces():
                    pass
            finally:
                self._counting[0] = 0
            return SocketCounts(tuple(self._counts[0]["each"].tolist()), int(self._orphaned[0]))

    def _pieces(self) -> Generator[memoryview, None, None]:
        self._loaded.run("begin")
        self._used[0] = 0
        while self._bucket[0] < self._last[0]:
            self._loaded.run("walk")
            # Waking a task of equal priority does not set TIF_NEED_RESCHED, so the run does not stop for it: yield
            # here.
            os.sched_yield()
            if self._no_room[0]:
                yield self._room[: int(self._used[0])]
                self._used[0] = 0
        if self._used[0]:
            yield self._room[: int(self._used[0])]
        if self._torn[0]:
            raise Unsupported("bpf:closing", "the table of connections has chains that the walk cannot follow")


class SocketIterator(_Sockets):
    """The kernel's iterator over TCP sockets: Linux 5.9 and newer."""

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        super().__init__("closing_iter")

    def _prepare(self) -> None:
        self._link = self._loaded.attach("closing_iter")

    def _pieces(self) -> Generator[memoryview, None, None]:
        fd = self._loaded.iterate(self._link)
        try:
            yield from received(fd, "closing_iter")
        finally:
            os.close(fd)
