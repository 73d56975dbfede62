"""Network namespaces of ordinary users: only root of the user namespace that owns one can enter it."""

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
    """Whether this process has CAP_SYS_ADMIN in its user namespace."""
    return not proc.lacking(("CAP_SYS_ADMIN",))


def join_owner(spec: str) -> None:
    """Join the user namespace that owns this network namespace, if this user has created it.

    So an ordinary user can look at the hosts of `halfopen lab` from another terminal: the creator of a user namespace
    has all capabilities in it (`cap_capable()`, security/commoncap.c). Does nothing if the process may enter namespaces
    already, has threads, or may not join: entering the network namespace then gives the error.
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
