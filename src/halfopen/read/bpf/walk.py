"""The census by our own walk through the kernel's hash of connections, without its locks (bpf/walk.bpf.c)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import Unsupported
from halfopen.read.bpf.census import Census, Counted, IterCensus
from halfopen.wire import bpf_records

# As in bpf/walk.bpf.c.
_ROOM: Final = 512 * 1024
_ROOMS: Final = 3
MOST_CHOSEN: Final = 16 * 1024
# A hash this small belongs to a single namespace (tcp_child_ehash_entries), and its chains may be long.
_OWN: Final = 64 * 1024
# A chain must fit the buffer as a whole. A limit of half the buffer leaves room for requests that come after measuring.
_LONGEST: Final = _ROOM // 2 // bpf_records.CENSUS_NAMED.itemsize


class WalkCensus(Census):
    """The census by bpf/walk.bpf.c: Linux 6.2 and newer. It takes no lock of the kernel.

    If a chain of the hash is too long for the walk, the kernel's iterator reads instead.
    """

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._iterator: IterCensus | None = None
        super().__init__("walk")

    def _prepare(self) -> None:
        self._bucket, self._buckets, self._last, self._used, self._no_room, self._torn = (
            self._loaded.variable(name, "<u4") for name in ("bucket", "buckets", "last", "used", "no_room", "torn")
        )
        self._chosen, self._measuring, self._longest = (
            self._loaded.variable(name, "<u4") for name in ("chosen", "measuring", "longest")
        )
        self._loaded.run("begin")
        # The kernel's hash always has a power of two of chains: anything else was read from the wrong place.
        if not self._buckets[0] or self._buckets[0] & (self._buckets[0] - 1):
            raise Unsupported("bpf:walk", "this kernel's hash of connections is not where the eBPF program walk looks")
        memory = memoryview(self._loaded.window("rooms", _ROOM * _ROOMS)).cast("B")
        self._rooms = [memory[n * _ROOM : (n + 1) * _ROOM] for n in range(_ROOMS)]

    def close(self) -> None:
        """As `Census.close`."""
        if self._iterator is not None:
            self._iterator.close()
        super().close()

    @property
    def interrupted(self) -> bool:
        """As `Census.interrupted`."""
        return bool(self._torn[0])

    def share(self, part: Counted) -> float:
        """As `Census.share`."""
        if self._chosen[0] or not len(part.chains) or not self._buckets[0]:
            return 0.0
        return float(part.chains[-1] + 1) / float(self._buckets[0])

    def _choose(self, chains: NDArray[np.uint32] | None) -> None:
        # More chains than the map holds: read all.
        self._chosen[0] = 0
        if chains is not None and len(chains) <= MOST_CHOSEN:
            room = np.frombuffer(self._loaded.window("chains", MOST_CHOSEN * 8), dtype=np.uint64)
            room[: len(chains)] = chains
            self._chosen[0] = len(chains)

    def _fits(self) -> bool:
        """Whether every chain of the calling thread's namespace fits the output buffer."""
        self._loaded.run("begin")
        if self._buckets[0] > _OWN:
            return True
        self._measuring[0] = 1
        try:
            while self._bucket[0] < self._last[0]:
                self._loaded.run("walk")
        finally:
            self._measuring[0] = 0
        return not self._torn[0] and self._longest[0] <= _LONGEST

    def _by_iterator(self) -> Generator[memoryview, None, None]:
        if self._iterator is None:
            self._iterator = IterCensus()
        other = self._iterator
        other._uniform[0], other._named[0], other._full[0], other._began[0] = self._uniform[0], self._named[0], 0, 0
        for piece in other._pieces():
            self._began[0] = other._began[0]
            yield piece
        self._full[0], self._torn[0] = other._full[0], 0

    def _pieces(self) -> Generator[memoryview, None, None]:
        if not self._fits():
            yield from self._by_iterator()
            return
        self._loaded.run("begin")
        turn = 0
        self._used[0] = 0
        while self._bucket[0] < self._last[0]:
            self._loaded.run("walk", turn)
            # Waking a task of equal priority does not set TIF_NEED_RESCHED, so the run does not stop for it: yield
            # here.
            os.sched_yield()
            if self._no_room[0]:
                yield self._rooms[turn][: int(self._used[0])]
                turn = (turn + 1) % _ROOMS
                self._used[0] = 0
        if self._used[0]:
            yield self._rooms[turn][: int(self._used[0])]
