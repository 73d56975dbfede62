"""Output files, written completely or not at all, and readable by their owner only."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from halfopen.linux import replacing

_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(path: str, data: bytes, *, replace: bool) -> None:
    """Write `data` to a new file (0600). replace: replace an existing file atomically.

    Raises: FileExistsError without `replace`, OSError; an incomplete new file is removed.
    """
    if not replace:
        _create(path, data)
        return
    directory, name = os.path.split(os.path.abspath(path))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                raise OSError(errno.EINVAL, "it is there and is no regular file")
        replacing.replace(fd, name, data, new=f".{name}.{os.getpid()}", mode=_MODE)
    finally:
        os.close(fd)


def _create(path: str, data: bytes) -> None:
    with open(os.open(path, _FLAGS, _MODE), "wb") as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            os.unlink(path)
            raise
