"""Replacing a file atomically, so that no reader ever sees an incomplete one."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace(
    directory: int,
    name: str,
    data: bytes,
    *,
    new: str,
    mode: int,
    durable: bool = False,
    written: Callable[[], None] = lambda: None,
) -> None:
    """Write `data` to a file `new` in the directory (a descriptor) and rename that to `name`.

    `new` is always created, and never followed if it is a link, because others may write to the directory. mode: of the
    file, whatever the umask. durable: sync the content before the rename; the caller syncs the directory. written:
    called before the rename. Raises: OSError; `name` is then unchanged, and `new` is removed.
    """
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    fd = os.open(new, _FLAGS, mode, dir_fd=directory)
    try:
        try:
            os.fchmod(fd, mode)
            _write(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        written()
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise


def _write(fd: int, data: bytes) -> None:
    # A short write means a full disk or a limit; writing the rest gives the error.
    rest = memoryview(data)
    while rest:
        count = os.write(fd, rest)
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest = rest[count:]
