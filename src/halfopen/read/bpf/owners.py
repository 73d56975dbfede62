"""Which processes hold TCP sockets, or files of namespaces: their tables of open files, read in the kernel
(bpf/owners.bpf.c).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError
from halfopen.core.sample.growing import Growing
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.wire import bpf_records
from halfopen.wire.inet_diag import TCP_LISTEN

_ROOM: Final = 4096
_LISTENING: Final = 1 << TCP_LISTEN
# The program's output buffer, which is mapped into memory: rows found since the last read().
_FOUND: Final = np.dtype([("rows", bpf_records.HOLDER, (_ROOM,))])


class Owners(Closable):
    """The loaded program: Linux 5.8 and newer. One look at a time, from any thread; close it, or use it as a context
    manager.
    """

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._lock = threading.Lock()
        self._loaded = Loaded("owners", {"holder_record": bpf_records.HOLDER})
        try:
            self._sample, self._every, self._states, self._count, self._unfinished = (
                self._loaded.variable(name, "<u4") for name in ("sample", "every", "states", "count", "unfinished")
            )
            self._operations = self._loaded.variable("operations", "<u8")
            self._found = self._loaded.variable("found", _FOUND)[0]["rows"]
            self._link = self._loaded.attach("owners")
        except BaseException:
            self._loaded.close()
            raise

    def close(self) -> None:
        """Unload the program."""
        self._loaded.close()

    def read(
        self, until_s: float = float("inf"), *, states: int | None = _LISTENING, namespaces: bool = False, room: int = 0
    ) -> tuple[NDArray[Any], bool]:
        """Every descriptor of a TCP socket in one of the states (one bit each), (n,) dtype `bpf_records.HOLDER`,
        process by process; and whether the list is complete: the search ends at `until_s` of the monotonic clock.

        states: None: sockets of any kind, which takes half the time. room: about how many are expected. namespaces:
        find descriptors of namespaces, of every kind, instead of sockets.

        Raises: NotPermitted, KernelError.
        """
        with self._lock, _sample(namespaces=namespaces) as self._sample[0]:
            self._every[0], self._states[0], self._count[0] = namespaces or states is None, states or 0, 0
            self._operations[0] = self._unfinished[0] = 0
            fd = self._loaded.iterate(self._link)
            try:
                found = Growing(bpf_records.HOLDER, room)
                whole = self._read(fd, until_s, found)
            finally:
                os.close(fd)
            return found.take(), whole

    def _read(self, fd: int, until_s: float, found: Growing) -> bool:
        """Collect the rows of each read(). Returns whether the iterator came to its end in time."""
        ended = False
        while not ended and time.monotonic() <= until_s:
            try:
                ended = not os.read(fd, 1)
            except BlockingIOError:
                pass  # EAGAIN: the program stopped in the middle of a task, or the kernel paused after a million tasks
            except OSError as e:
                raise KernelError("reading the eBPF program owners", e.errno or 0) from None
            found.add(self._found[: self._count[0]])
            self._count[0] = 0
        return ended


@contextmanager
def _sample(*, namespaces: bool) -> Iterator[int]:
    """A descriptor of the kind that is looked for."""
    if namespaces:
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).detach()
    try:
        yield fd
    finally:
        os.close(fd)
