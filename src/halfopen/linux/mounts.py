"""The mounts of this process's mount namespace, as /proc/self/mountinfo gives them."""

from __future__ import annotations

import os
import re
from typing import Final

from msgspec import Struct

from halfopen.linux.small_files import must_read

_MOUNTS: Final = "/proc/self/mountinfo"
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


class Mount(Struct, frozen=True):
    """One mount: the part of the file system that is mounted, the mount point (as os.open takes it), and the type."""

    root: str
    point: str
    kind: str


def mounts(file: str = _MOUNTS) -> list[Mount]:
    """All mounts, in the order of the file. Raises: OSError.

    Source: show_mountinfo(), fs/proc_namespace.c: white space and backslashes are escaped as three octal digits
    (seq_escape()), all other bytes are literal.
    """
    found = []
    for line in must_read(file).split(b"\n"):
        before, _, after = line.partition(b" - ")
        words, kind = before.split(), after.split()
        if len(words) > 4 and kind:
            found.append(Mount(_name(words[3]), _name(words[4]), _name(kind[0])))
    return found


def _name(word: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda digits: bytes([int(digits[1], 8) & 0xFF]), word))
