"""What the kernel's iterators write, read to the end."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Final

from halfopen.core.errors import KernelError

# The most that one read of an iterator gives (the buffer of bpf_seq_read(), kernel/bpf/bpf_iter.c).
PIECE: Final = 32 * 1024
ROOM: Final = 512 * 1024


def received(
    fd: int, name: str, piece: int = PIECE, pause_s: float = 0.0, most: int = ROOM
) -> Generator[memoryview, None, None]:
    """What the iterator of an eBPF program writes, a stretch at a time; overwritten by the next.

    The program runs until it has written `piece` bytes, PIECE at most; then nothing is done for `pause_s`. most: bytes
    of a stretch, PIECE at least.

    Raises: KernelError.
    """
    room = memoryview(bytearray(most))
    used = 0
    while True:
        try:
            n = os.readv(fd, [room[used : used + piece]])
        except BlockingIOError:
            continue  # a million sockets without one that is wanted
        except OSError as e:
            raise KernelError(f"reading the eBPF program {name}", e.errno or 0) from None
        used += n
        if used and (not n or used > most - PIECE):
            yield room[:used]
            used = 0
        if not n:
            return
        if pause_s:
            time.sleep(pause_s)
