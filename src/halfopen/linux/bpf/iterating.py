"""The output of the kernel's iterators, read to its end."""

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
    """The output of an eBPF iterator, a stretch at a time; the next stretch overwrites it.

    Each read() runs the program until it has written `piece` bytes, at most PIECE; between two reads it sleeps for
    `pause_s`. most: the size of a stretch, at least PIECE.

    Raises: KernelError.
    """
    room = memoryview(bytearray(most))
    used = 0
    while True:
        try:
            n = os.readv(fd, [room[used : used + piece]])
        except BlockingIOError:
            continue  # EAGAIN: the kernel paused after a million sockets of which none was written
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
