"""The root of the cgroup2 tree: a program attached to it sees the packets of every socket of the machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final

from halfopen.core.errors import KernelError, Unsupported
from halfopen.linux import proc
from halfopen.linux.mounts import mounts

_MOUNTS: Final = "/proc/{}/mountinfo"
_MOST_ELDERS: Final = 16
# Errors that do not tell whether it is there.
_TOO_LITTLE: Final = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)
_ROOT_INODE: Final = 1


def _elders() -> Iterator[str]:
    """The ancestors of this process that belong to the same user, the nearest first, and process 1."""
    pid = os.getppid()
    for _ in range(_MOST_ELDERS):
        try:
            if pid <= 1 or os.stat(f"/proc/{pid}").st_uid != os.geteuid():
                break
            yield str(pid)
            pid = int(proc.stat_fields(pid)[1])
        except (OSError, ValueError, IndexError):
            break
    yield "1"


def _trees(pid: str) -> Iterator[str]:
    """Where cgroup2 is mounted for a process ("self": this one), as paths for this process. Raises: OSError."""
    for mount in mounts(_MOUNTS.format(pid)):
        if mount.kind == "cgroup2":
            yield mount.point if pid == "self" else f"/proc/{pid}/root{mount.point}"


def root() -> int:
    """A descriptor of the root of the cgroup2 tree.

    `ip netns exec` mounts a new /sys without the tree; its parent processes still see it. The tree must not be mounted
    again instead: a mount without nsdelegate switches that option off for the whole machine
    (`apply_cgroup_root_flags()`).

    Raises: Unsupported if it is not visible, KernelError if that could not be determined.
    """
    for pid in ("self", *_elders()):
        try:
            for path in _trees(pid):
                fd = _root_at(path)
                if fd is not None:
                    return fd
        except OSError as e:
            if e.errno in _TOO_LITTLE:
                raise KernelError("looking for the root of the cgroup2 tree", e.errno, e.strerror or "") from None
    raise Unsupported(
        "cgroup2",
        "the root of the cgroup2 tree cannot be seen from here",
        hint="run it on the host: halfopen release --netns NAME, or --netns pid:N",
    )


def _root_at(path: str) -> int | None:
    """A descriptor of the directory if it is the root of the tree, else None. Raises: OSError for lack of descriptors
    or memory.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in _TOO_LITTLE:
            raise
        return None
    # In a container the mount may show only a part of the tree, without the listeners of other containers.
    if os.fstat(fd).st_ino == _ROOT_INODE:
        return fd
    os.close(fd)
    return None
