"""What the kernel's iterators write, read to the end."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

from halfopen.core.errors import KernelError

_ROOM: Final = 512 * 1024


def received(fd: int, name: str) -> Generator[memoryview, None, None]:
    """What the iterator of an eBPF program writes, a stretch at a time; overwritten by the next.

    Raises: KernelError.
    """
    room = memoryview(bytearray(_ROOM))
    used = 0
    while True:
        try:
            n = os.readv(fd, [room[used : used + 32 * 1024]])
        except BlockingIOError:
            continue  # a million sockets without one that is wanted
        except OSError as e:
            raise KernelError(f"reading the eBPF program {name}", e.errno or 0) from None
        used += n
        if used and (not n or used > _ROOM - 32 * 1024):
            yield room[:used]
            used = 0
        if not n:
            return
