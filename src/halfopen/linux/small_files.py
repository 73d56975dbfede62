"""Reading small files: /proc, /sys, configuration. `read` returns None where `must_read` raises."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

_PIECE: Final = 64 * 1024
_MOST: Final = 16 * 1024 * 1024
# Non-blocking, as the path may be a pipe without a writer.
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: str, most: int = _MOST) -> bytes | None:
    """The bytes of a regular file (all of /proc are), at most `most`; None where it cannot be opened or read."""
    try:
        return must_read(path, most)
    except (OSError, ValueError):
        return None


def tail(path: str, most: int = _MOST) -> bytes | None:
    """The last bytes of a regular file, at most `most`; None where it cannot be opened or read."""
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        os.lseek(fd, max(0, status.st_size - most), os.SEEK_SET)
        return read_open(fd, most)
    except OSError:
        return None
    finally:
        os.close(fd)


def must_read(path: str, most: int = _MOST) -> bytes:
    """The bytes of a regular file, at most `most`. Raises: OSError, ValueError for a name with a zero byte.

    Without Python's file objects, which are slow: with hundreds of namespaces, thousands of files are read.
    """
    fd = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        return read_open(fd, most)
    finally:
        os.close(fd)


def read_open(fd: int, most: int = _MOST) -> bytes:
    """The bytes of an open file from its current position, at most `most`. Raises: OSError."""
    pieces: list[bytes] = []
    left = most
    while left > 0 and (piece := os.read(fd, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def text(path: str) -> str:
    """The text of a small file without the white space around it; empty where it cannot be read."""
    return (read(path) or b"").decode("utf-8", "replace").strip()
