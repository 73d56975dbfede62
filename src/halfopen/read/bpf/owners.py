"""Who holds listeners, or files of namespaces: the open files of all processes, told in the kernel
(bpf/owners.bpf.c).
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Final

from numpy.typing import NDArray

from halfopen.core.errors import KernelError
from halfopen.linux.bpf.loader import Loaded
from halfopen.wire import bpf_records

# The kernel fills at most 32 KiB a read().
_READ_BYTES: Final = 32 * 1024


class Owners:
    """The loaded program: Linux 5.8 and newer. One look at a time, from any thread; close it, or use it as a context
    manager.
    """

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._lock = threading.Lock()
        self._loaded = Loaded("owners", {"holder_record": bpf_records.HOLDER})
        try:
            self._deadline = self._loaded.variable("deadline", "<u8")
            self._namespaces = self._loaded.variable("namespaces", "<u4")
            self._late = self._loaded.variable("late", "<u4")
            self._link = self._loaded.attach("owners")
        except BaseException:
            self._loaded.close()
            raise

    def __enter__(self) -> Owners:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unload the program."""
        self._loaded.close()

    def read(self, until_s: float = float("inf"), *, namespaces: bool = False) -> tuple[NDArray[Any], bool]:
        """Every descriptor of a listening TCP socket, (n,) dtype `bpf_records.HOLDER`, process by process; and whether
        that are all, or it was broken off at `until_s` of the monotonic clock.

        namespaces: every descriptor of a namespace, of whatever kind, instead.

        Raises: NotPermitted, KernelError.
        """
        with self._lock:
            self._deadline[0] = min(int(min(until_s, time.monotonic() + 1e6) * 1e9), 2**63)
            self._namespaces[0], self._late[0] = namespaces, 0
            fd = self._loaded.iterate(self._link)
            try:
                data = b"".join(self._pieces(fd))
            finally:
                os.close(fd)
            return bpf_records.holders(data), not self._late[0]

    def _pieces(self, fd: int) -> list[bytes]:
        pieces: list[bytes] = []
        while True:
            try:
                piece = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                if self._late[0]:
                    return pieces
                continue  # a million files without one that is meant
            except OSError as e:
                raise KernelError("reading the eBPF program owners", e.errno or 0) from None
            if not piece:
                return pieces
            pieces.append(piece)
