"""The memory of a map, mapped into this process, which can be released while numpy arrays still refer to it."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Any, Final

from halfopen.core.errors import KernelError
from halfopen.linux.libc import LIBC

_MAP_FIXED: Final = 0x10
_FAILED: Final = ctypes.c_void_p(-1).value
_BOTH: Final = mmap.PROT_READ | mmap.PROT_WRITE


_map: Final = LIBC.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
_unmap: Final = LIBC.munmap
_unmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class Window:
    """The beginning of a mappable map, as `memory`. Python's mmap cannot be closed while an array refers to it."""

    def __init__(self, fd: int, size: int = mmap.PAGESIZE) -> None:
        """Raises: KernelError."""
        self._size = size
        self._address = _map(None, size, _BOTH, mmap.MAP_SHARED, fd, 0)
        if self._address == _FAILED:
            raise KernelError("mapping an eBPF map", ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.memory: Any = (ctypes.c_char * size).from_address(self._address)
        # Unmapped when the last array over it is gone.
        weakref.finalize(self.memory, _unmap, self._address, size).atexit = False

    def close(self) -> None:
        """Release the map. Arrays over the window then read zeros, and their writes have no effect."""
        anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        _map(self._address, self._size, _BOTH, anonymous, -1, 0)
