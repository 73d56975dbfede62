"""The door: while it is held for half-open connections, they cannot finish their handshake (bpf/door.bpf.c).

The program is attached to the root of the cgroup tree by a link. So it sees the packets of every listener of the
machine, including all members of SO_REUSEPORT groups and containers, and replaces no filter of an application. The
kernel detaches it when the descriptor of the link is closed, at the latest when the process ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError, Unsupported
from halfopen.core.sample import REQUEST
from halfopen.linux import cgroup2
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.linux.libc import LIBC

# A word of 64 bits for each connection: then about one in a thousand others looks like a held one. With more than MOST
# connections the share of such mistakes rises; held connections are never missed.
MOST: Final = 4 * 1024 * 1024
# The size of the map in the object: enough for most releases, and 128 KB of kernel memory.
USUAL: Final = 16 * 1024
_FEWEST: Final = 1024
# The program lets packets through this long after the last `keep`. `keep` returns False if it is called later than
# _TOO_LATE_S after the one before.
_OPENS_AFTER_S: Final = 3.0
_TOO_LATE_S: Final = 2.0
_INET6: Final = 10
_MEMBARRIER_GLOBAL: Final = 1
# asm/unistd.h; libc has no wrapper.
_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "loongarch64": 283}


# The ends of a connection as bpf/door.bpf.c sees them: words in memory order.
_ENDS: Final = np.dtype(
    {
        "names": ["local_0", "local_1", "remote_0", "remote_1", "local_v4", "remote_v4", "local_port", "remote_port"],
        "formats": ["<u8", "<u8", "<u8", "<u8", "<u4", "<u4", "<u2", "<u2"],
        "offsets": [8, 16, 24, 32, 8, 24, 4, 6],
        "itemsize": REQUEST.itemsize,
    }
)
_V4_MAPPED: Final = np.uint64(0xFFFF0000)
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_32: Final = np.uint64(32)


def _parts(requests: NDArray[Any]) -> Iterator[NDArray[np.uint64]]:
    ends = np.ascontiguousarray(requests).view(_ENDS)
    v4 = requests["family"] != _INET6
    for ours in ("remote", "local"):
        mapped = ends[f"{ours}_v4"].astype(np.uint64) << _32 | _V4_MAPPED
        yield np.where(v4, mapped, ends[f"{ours}_1"])
    for ours in ("remote", "local"):
        yield np.where(v4, np.uint64(0), ends[f"{ours}_0"])
    yield ends["remote_port"].astype(np.uint64) | ends["local_port"].astype(np.uint64) << np.uint64(16)


# The seed of the hash, one for all doors of this process, and unknown to attackers who choose addresses and ports.
_SEED: Final = np.uint64(int.from_bytes(os.urandom(8), "little"))


def hashes(requests: NDArray[Any]) -> NDArray[np.uint64]:
    """The hashes by which the door recognises N requests (dtype REQUEST), (N,)."""
    found = np.full(len(requests), _SEED)
    for part in _parts(requests):
        found ^= part
        found *= _ODD
        found ^= found >> _32
    return found


def barrier() -> None:
    """Wait until all packets that are being received now have passed (synchronize_rcu()).

    Raises: Unsupported, KernelError.
    """
    number = _SYS_MEMBARRIER.get(platform.machine())
    if number is None:
        raise Unsupported("membarrier", f"no membarrier() known for {platform.machine()}")
    if LIBC.syscall(number, _MEMBARRIER_GLOBAL, 0, 0) == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
        raise Unsupported("membarrier", "this kernel does not offer membarrier(MEMBARRIER_CMD_GLOBAL)")
    raise KernelError("membarrier", code)


def _in_ns(seconds: float) -> int:
    """CLOCK_MONOTONIC in this many seconds, ns."""
    return time.monotonic_ns() + int(seconds * 1e9)


class Door(Closable):
    """The loaded program, which is attached only while the door is `held`. Close it, or use it as a
    context manager.
    """

    def __init__(self, capacity: int = USUAL) -> None:
        """capacity: for how many connections at a time the Bloom filter is sized.

        Raises: Unsupported, NotPermitted, KernelError, also for what attaching it would raise.
        """
        self.capacity = max(_FEWEST, min(capacity, MOST))
        words = 1 << (self.capacity - 1).bit_length()
        self._shift = 64 - (words.bit_length() - 1)
        self._lock = threading.Lock()
        barrier()
        self._cgroup = cgroup2.root()
        try:
            self._loaded = Loaded("door", {}, sizes=None if words == USUAL else {"bits": words})
            try:
                self._bits = np.frombuffer(self._loaded.window("bits", words * 8), dtype=np.uint64)
                self._netns, self._lapsed, shift = (
                    self._loaded.variable(name, "<u4") for name in ("netns", "lapsed", "shift")
                )
                self._until, self._turned_away, seed = (
                    self._loaded.variable(name, "<u8") for name in ("until", "turned_away", "seed")
                )
                seed[0], shift[0] = _SEED, self._shift
                with self._loaded.attached_cgroup("door", self._cgroup):
                    pass
            except BaseException:
                self._loaded.close()
                raise
        except BaseException:
            os.close(self._cgroup)
            raise

    def close(self) -> None:
        """Detach and unload the program."""
        self._loaded.close()
        if self._cgroup >= 0:
            os.close(self._cgroup)
            self._cgroup = -1

    @property
    def turned_away(self) -> int:
        """How many packets of held connections were dropped; slightly too low if two CPUs counted at once."""
        return int(self._turned_away[0])

    @contextmanager
    def held(self, *connections: NDArray[np.uint64]) -> Iterator[None]:
        """Hold the door for connections of the calling thread's namespace (their `hashes`, in any number of arrays):
        none of them can finish inside the `with`, as long as `keep` is called often enough.

        One holder at a time; others wait. Raises: NotPermitted, Unsupported, KernelError.
        """
        with self._lock:
            yield from self._hold(connections)

    def _hold(self, connections: Sequence[NDArray[np.uint64]]) -> Iterator[None]:
        try:
            self._netns[0] = os.stat("/proc/thread-self/ns/net").st_ino
            for part in connections:
                np.bitwise_or.at(self._bits, *self._places(part))
            self._lapsed[0] = 0
            self._until[0] = _in_ns(_OPENS_AFTER_S)
            with self._loaded.attached_cgroup("door", self._cgroup):
                # A packet that passed before may still be completing a handshake on another CPU.
                barrier()
                yield
        finally:
            self._bits[:] = 0

    def _places(self, connections: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
        """For each connection, the index of its word and the bits in it."""
        one, six, low = np.uint64(1), np.uint64(6), np.uint64(63)
        three = one << (connections & low)
        three |= one << (connections >> six & low)
        three |= one << (connections >> np.uint64(12) & low)
        return (connections >> np.uint64(self._shift)).astype(np.intp), three

    def holds(self, connections: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of N connections (their `hashes`) the door stops now, (N,).

        Like the program, it may take another connection for a held one, but decides exactly as the program does.
        """
        places, three = self._places(connections)
        is_held: NDArray[np.bool_] = self._bits[places] & three == three
        return is_held

    def keep(self) -> bool:
        """Prolong the hold. False: the door may have opened since the last call, so connections may have completed."""
        if self._lapsed[0] or int(self._until[0]) - _in_ns(0) < (_OPENS_AFTER_S - _TOO_LATE_S) * 1e9:
            return False
        self._until[0] = _in_ns(_OPENS_AFTER_S)
        # Ask again: it may have opened between the question and the prolongation.
        return not self._lapsed[0]

    def opened(self) -> bool:
        """Whether it has opened automatically."""
        return bool(self._lapsed[0]) or int(self._until[0]) <= _in_ns(0)
