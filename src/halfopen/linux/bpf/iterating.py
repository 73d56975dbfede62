"""What the kernel's iterators write, read to the end."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Final

from halfopen.core.errors import KernelError

_ROOM: Final = 512 * 1024


def received(fd: int, name: str, piece: int = 32 * 1024, pause_s: float = 0.0) -> Generator[memoryview, None, None]:
    """What the iterator of an eBPF program writes, a stretch at a time; overwritten by the next.

    The program runs until it has written `piece` bytes, 32 KiB at most; then nothing is done for `pause_s`.

    Raises: KernelError.
    """
    room = memoryview(bytearray(_ROOM))
    used = 0
    while True:
        try:
            n = os.readv(fd, [room[used : used + piece]])
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
        if pause_s:
            time.sleep(pause_s)
