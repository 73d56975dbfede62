"""The door: held for chosen half-open connections, it keeps them from finishing their handshake (bpf/door.bpf.c).

The program is attached to the root of the cgroup tree by a link. So it sees the packets of every listener there is, all
SO_REUSEPORT members and containers included, displaces no filter of any application, and is taken off by the kernel
when the link's descriptor goes: with `close`, or with the process, however that ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError, Unsupported
from halfopen.core.units import V4_MAPPED
from halfopen.kernel.bpf.loader import Loaded
from halfopen.kernel.mounts import mounts
from halfopen.wire import bpf_records

# So many connections at a time; each takes about 100 bytes of the kernel's memory.
CAPACITY: Final = 512 * 1024
_MOUNTS: Final = "/proc/{}/mountinfo"
_MOST_ELDERS: Final = 16
# No answer to whether it is there.
_TOO_LITTLE: Final = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_ROOT_INODE: Final = 1
_INET6: Final = 10
_MEMBARRIER_GLOBAL: Final = 1
# asm/unistd.h; there is no wrapper in libc.
_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "ppc64le": 365, "loongarch64": 283}


def _elders() -> Iterator[str]:
    """The processes above this one that are the same user's, the nearest first, and the first process of all."""
    pid = os.getppid()
    for _ in range(_MOST_ELDERS):
        try:
            if pid <= 1 or os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                break
            yield str(pid)
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                pid = int(f.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    yield "1"


def _trees(pid: str) -> Iterator[str]:
    """Where a process ("self": this one) has cgroup2 mounted, as a path for this process. Raises: OSError."""
    for mount in mounts(_MOUNTS.format(pid)):
        if mount.kind == "cgroup2":
            yield mount.point if pid == "self" else f"/proc/{pid}/root{mount.point}"


def _root_cgroup() -> int:
    """A descriptor of the root of the cgroup2 tree.

    `ip netns exec` mounts a new /sys, without the tree; the process that called it, and its callers, still see it.
    Mounting it once more is no way: a mount without nsdelegate takes that from the whole machine
    (`apply_cgroup_root_flags()`).

    Raises: Unsupported where it cannot be seen, KernelError where that could not be told.
    """
    for pid in ("self", *_elders()):
        try:
            for path in _trees(pid):
                fd = _root_at(path)
                if fd is not None:
                    return fd
        except OSError as e:
            if e.errno in _TOO_LITTLE:
                raise KernelError("looking for the root of the cgroup2 tree", e.errno, e.strerror or "") from None
    raise Unsupported(
        "cgroup2",
        "the root of the cgroup2 tree cannot be seen from here",
        hint="from the host it can: halfopen release --netns NAME, or --netns pid:N",
    )


def _root_at(path: str) -> int | None:
    """A descriptor of the directory, where it is the root of the tree. Raises: OSError when there was too little to
    tell."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in _TOO_LITTLE:
            raise
        return None
    # In a container the mount shows a part of the tree, and other listeners would be out of reach.
    if os.fstat(fd).st_ino == _ROOT_INODE:
        return fd
    os.close(fd)
    return None


def keys(requests: NDArray[Any]) -> NDArray[Any]:
    """What N requests (dtype REQUEST) are known by at the door: (N,) dtype `bpf_records.DOOR_KEY`."""
    found = np.zeros(len(requests), dtype=bpf_records.DOOR_KEY)
    v4 = requests["family"] != _INET6
    mapped = int.from_bytes(V4_MAPPED[8:], "big") << 32
    for ours, high, low, address in (
        ("local", "local_high", "local_low", "local_v4"),
        ("remote", "remote_high", "remote_low", "remote_v4"),
    ):
        found[f"{ours}_high"] = np.where(v4, 0, requests[high])
        found[f"{ours}_low"] = np.where(v4, requests[address].astype(np.uint64) | np.uint64(mapped), requests[low])
    found["local_port"] = requests["local_port"]
    found["remote_port"] = requests["remote_port"]
    return found


class Door:
    """The loaded program. It is attached while the door is `held`, and at no other time. Close it, or use it as a
    context manager.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        """capacity: how many connections it can be held for at a time.

        Raises: Unsupported, NotPermitted, KernelError: also what attaching it would raise."""
        self.capacity = capacity
        self._lock = threading.Lock()
        self._barrier()
        self._cgroup = _root_cgroup()
        try:
            self._loaded = Loaded("door", {"door_key": bpf_records.DOOR_CHECKED}, sizes={"held": capacity})
            try:
                self._turned_away = self._loaded.variable("turned_away", "<u8")
                with self._loaded.attached_cgroup("door", self._cgroup):
                    pass
            except BaseException:
                self._loaded.close()
                raise
        except BaseException:
            os.close(self._cgroup)
            raise

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the program off: the door is gone."""
        self._loaded.close()
        if self._cgroup >= 0:
            os.close(self._cgroup)
            self._cgroup = -1

    @property
    def turned_away(self) -> int:
        """Packets of held connections that came meanwhile; a few less where two CPUs counted at once."""
        return int(self._turned_away[0])

    @contextmanager
    def held(self, connections: NDArray[Any]) -> Iterator[None]:
        """Hold the door for N connections (dtype `DOOR_KEY`, at most `capacity`): meanwhile none of them can finish.

        One holder at a time, others wait. Raises: NotPermitted, Unsupported, KernelError.
        """
        with self._lock:
            yield from self._hold(connections)

    def _hold(self, connections: NDArray[Any]) -> Iterator[None]:
        try:
            self._loaded.update_batch("held", connections, np.ones(len(connections), dtype=np.uint8))
            with self._loaded.attached_cgroup("door", self._cgroup):
                # What was let in before may still be on its way through the handshake, on another CPU.
                self._barrier()
                yield
        finally:
            self._loaded.delete_batch("held", connections)

    @staticmethod
    def _barrier() -> None:
        """Wait until all packets that were being taken in are through (synchronize_rcu())."""
        number = _SYS_MEMBARRIER.get(platform.machine())
        if number is None:
            raise Unsupported("membarrier", f"no membarrier() known for {platform.machine()}")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0) == 0:
            return
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise Unsupported("membarrier", "this kernel does not offer membarrier(MEMBARRIER_CMD_GLOBAL)")
        raise KernelError("membarrier", code)
