"""Dropping the kernel's file caches: /proc/sys/vm/drop_caches."""

from __future__ import annotations

import os
from typing import Final

from halfopen.core.errors import KernelError, NotPermitted, Unsupported, privilege
from halfopen.linux import proc

PATH: Final = "/proc/sys/vm/drop_caches"
# mm/vmscan.c, fs/drop_caches.c: 1 the page cache, 2 unused inodes and dentries; 4: no message in the kernel's log.
_PAGES, _BOTH, _QUIET = 1, 3, 4


def may_drop(path: str = PATH) -> None:
    """Check that caches can be dropped, and that this is root of the machine, not of a container. Changes nothing.

    Raises: NotPermitted, Unsupported.
    """
    if not proc.on_the_host():
        raise NotPermitted(
            "the page cache is the whole machine's, and this process is in a container (PID or user namespace)",
            hint="run it on the host; in a container, look at the container's own memory limit",
        )
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        raise Unsupported("drop_caches", f"there is no {path} here") from None
    except OSError:
        raise NotPermitted(f"{path} may not be written", hint=privilege(os.geteuid(), "CAP_DAC_OVERRIDE")) from None


def drop(inodes: bool, path: str = PATH) -> None:
    """Drop the page cache, and with `inodes` unused inodes and dentries, and wait until it is done. Raises:
    KernelError.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d\n" % ((_BOTH if inodes else _PAGES) + _QUIET))
        finally:
            os.close(fd)
    except OSError as e:
        raise KernelError("dropping the page cache", e.errno or 0) from None
