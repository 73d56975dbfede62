"""Reads the files of sysctl.d as they are read when the machine boots."""

from __future__ import annotations

import os
import stat
from typing import Final

from halfopen.core.tune import sysctl_d
from halfopen.core.tune.sysctl_d import File, Override
from halfopen.linux.small_files import read_open

# Read at most this much of a file; no real file of sysctl.d is longer.
_MOST: Final = 1024 * 1024
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def overrides(wanted: dict[str, int]) -> tuple[list[Override], list[str]]:
    """The files that would override our file for these keys, and a line for each file that was not read."""
    problems: list[str] = []
    found = []
    for directory in sysctl_d.DIRECTORIES:
        for name in _names(directory, problems):
            file = _file(f"{directory}/{name}", problems)
            if file is not None:
                found.append(file)
    files = sysctl_d.in_order(found)
    last = _file(sysctl_d.LAST, problems) if os.path.exists(sysctl_d.LAST) else None
    if last is not None and any(_same(file.path, last.path) for file in files):
        last = None
    return sysctl_d.overrides(files, last, wanted), problems


def _names(directory: str, problems: list[str]) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if name.endswith(".conf")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as e:
        problems.append(f"{directory} was not read: {e.strerror}")
        return []


def _file(path: str, problems: list[str]) -> File | None:
    """The file with this name; empty if it is a link to /dev/null or to nothing, which masks files of that name in
    other directories. None: it could not be read.
    """
    try:
        fd = os.open(path, _FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return File(path, b"")
            return File(path, read_open(fd, _MOST))
        finally:
            os.close(fd)
    except FileNotFoundError:
        return File(path, b"")
    except OSError as e:
        problems.append(f"{path} was not read: {e.strerror}")
        return None


def _same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
