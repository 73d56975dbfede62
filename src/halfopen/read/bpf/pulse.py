"""The pulse: the SYN queue of every listener of a namespace, at a cost that depends only on their number
(bpf/pulse.bpf.c).
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import KernelError
from halfopen.core.sample import PULSE
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.closable import Closable
from halfopen.wire import bpf_records

# The kernel fills at most 32 KiB a read().
_READ_BYTES: Final = 32 * 1024


class Pulse(Closable):
    """The loaded program. One reading at a time, from any thread; close it, or use it as a context manager."""

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._lock = threading.Lock()
        self._loaded = Loaded("pulse", {"pulse_record": PULSE})
        try:
            self._expected = self._loaded.variable("expected", "<u8")
            self._quiet = self._loaded.variable("quiet", "<u8")
            self._digest = self._loaded.variable("digest", "<u8")
            self._last = self._loaded.variable("last", PULSE)
            self._link = self._loaded.attach("pulse")
        except BaseException:
            self._loaded.close()
            raise

    def close(self) -> None:
        """Unload the program."""
        self._loaded.close()

    def read(self, expected: int = 0) -> NDArray[Any]:
        """The listeners of the calling thread's namespace, (L,) dtype PULSE, in the kernel's order.

        expected: the number of listeners that a dump just showed: the walk ends there. If it is 0, or a listener was
        closed since, a namespace without connections makes the kernel walk the whole hash, which all namespaces share
        (0.3 s beside a million connections).

        Raises: NotPermitted, KernelError.
        """
        return self.read_with_digest(expected)[0]

    def read_with_digest(self, expected: int) -> tuple[NDArray[Any], int]:
        """The same listeners, (L,) dtype PULSE, and their digest (`digest`). Raises: as `read`."""
        with self._lock:
            found = bpf_records.pulses(self._walk(expected, quiet=False))
            if self._last["family"][0]:
                found = np.concatenate((found, self._last))
            return found, int(self._digest[0])

    def digest(self, expected: int) -> int:
        """A hash over everything that a LISTEN dump or `read` would show: it changes when any of that changes. Cheaper
        than `read`, as no record is written. expected: as for `read`. Raises: as `read`.
        """
        with self._lock:
            self._walk(expected, quiet=True)
            return int(self._digest[0])

    def _walk(self, expected: int, *, quiet: bool) -> bytes:
        self._expected[0], self._quiet[0], self._digest[0] = expected, quiet, 0
        self._last["family"] = 0
        fd = self._loaded.iterate(self._link)
        try:
            return b"".join(_pieces(fd))
        finally:
            os.close(fd)


def _pieces(fd: int) -> list[bytes]:
    pieces = []
    try:
        while piece := os.read(fd, _READ_BYTES):
            pieces.append(piece)
    except BlockingIOError:
        pass  # EAGAIN: the program stopped the iterator
    except OSError as e:
        raise KernelError("reading the eBPF program pulse", e.errno or 0) from None
    return pieces
