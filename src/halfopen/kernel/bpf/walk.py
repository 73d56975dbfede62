"""The census by a walk of its own through the kernel's hash of connections, without its locks (bpf/walk.bpf.c)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

from halfopen.core.errors import Unsupported
from halfopen.kernel.bpf.census import Census

# As in bpf/walk.bpf.c.
_ROOM: Final = 512 * 1024
_ROOMS: Final = 3


class WalkCensus(Census):
    """The census by bpf/walk.bpf.c: Linux 6.2 and newer. Waits for nobody, and nobody waits for it."""

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        super().__init__("walk")

    def _prepare(self) -> None:
        self._bucket, self._buckets, self._used, self._no_room, self._torn = (
            self._loaded.variable(name, "<u4") for name in ("bucket", "buckets", "used", "no_room", "torn")
        )
        self._loaded.run("begin")
        # A power of two, or it is not the hash this walk knows.
        if not self._buckets[0] or self._buckets[0] & (self._buckets[0] - 1):
            raise Unsupported("bpf:walk", "this kernel's hash of connections is not where the eBPF program walk looks")
        memory = memoryview(self._loaded.window("rooms", _ROOM * _ROOMS)).cast("B")
        self._rooms = [memory[n * _ROOM : (n + 1) * _ROOM] for n in range(_ROOMS)]

    @property
    def interrupted(self) -> bool:
        return bool(self._torn[0])

    def _pieces(self) -> Generator[memoryview, None, None]:
        self._loaded.run("begin")
        turn = 0
        self._used[0] = 0
        while self._bucket[0] < self._buckets[0]:
            self._loaded.run("walk", turn)
            # Who is as important as we are does not end a run by being woken; so let those go first now.
            os.sched_yield()
            if self._no_room[0]:
                yield self._rooms[turn][: int(self._used[0])]
                turn = (turn + 1) % _ROOMS
                self._used[0] = 0
        if self._used[0]:
            yield self._rooms[turn][: int(self._used[0])]
