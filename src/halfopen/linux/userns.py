"""Network namespaces of an ordinary user's own: entering them takes being root of the user namespace that owns them."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.linux import proc
from halfopen.linux.libc import LIBC
from halfopen.linux.netns import resolve

CLONE_NEWUSER: Final = 0x10000000
_NS_GET_USERNS: Final = 0xB701  # linux/nsfs.h, since 4.9


def may_enter_namespaces() -> bool:
    """Whether this process has CAP_SYS_ADMIN where it is."""
    return not proc.lacking(("CAP_SYS_ADMIN",))


def join_owner(spec: str) -> None:
    """Become root of the user namespace that owns this network namespace, where that is this user's own.

    So `halfopen lab` of an ordinary user can be looked at from another terminal. Whoever made a user namespace has all
    capabilities in it (`cap_capable()`, security/commoncap.c), and nobody else joins it here. Nothing happens where the
    process may enter namespaces already, has threads, or may not: what then refuses says so.
    """
    if may_enter_namespaces() or len(os.listdir("/proc/self/task")) > 1:
        return
    try:
        fd = resolve(spec).open()
    except HalfopenError:
        return
    try:
        owner = fcntl.ioctl(fd, _NS_GET_USERNS)
    except OSError:
        return
    finally:
        os.close(fd)
    try:
        if not os.path.samestat(os.fstat(owner), os.stat("/proc/self/ns/user")):
            LIBC.setns(owner, CLONE_NEWUSER)
    finally:
        os.close(owner)
