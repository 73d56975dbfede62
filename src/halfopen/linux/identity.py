"""The identity of the namespace, boot and host of a thread."""

from __future__ import annotations

import errno
import os
import socket
from functools import lru_cache
from typing import Final

from halfopen.core.errors import KernelError
from halfopen.core.where import Host, Namespace
from halfopen.linux import small_files
from halfopen.linux.netns import SELF, Netns, current

# Since commit e8b9eab99232 ("net: retrieve netns cookie via getsocketopt") (in v5.14).
_SO_NETNS_COOKIE: Final = 71
_THREAD: Final = "/proc/thread-self/ns/net"
_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def boot_id() -> str:
    """The kernel's id of this boot; empty if /proc does not show it, or for lack of descriptors."""
    try:
        return _boot_id()
    except OSError:
        return ""


# Only a successful read is cached: after a shortage of descriptors, an empty id would look like another boot.
@lru_cache(maxsize=1)
def _boot_id() -> str:
    return small_files.must_read("/proc/sys/kernel/random/boot_id").decode("ascii", "replace").strip()


def host() -> Host:
    """This machine."""
    facts = os.uname()
    return Host(facts.nodename, facts.release)


def cookie() -> int | None:
    """The cookie of the calling thread's namespace; None if the kernel has none (before Linux 5.14).

    Raises: KernelError for lack of descriptors or memory.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
    except OSError as e:
        # Not "no cookie": without it, this namespace would look like another one for as long as the shortage lasts.
        if e.errno in _SHORTAGES:
            raise KernelError("asking for the network namespace's cookie", e.errno or 0, e.strerror or "") from None
        return None


@lru_cache(maxsize=1)
def _own_cookie(pid: int, inode: int) -> int | None:
    """As `cookie`, cached for this process's own namespace, which its main thread never leaves."""
    return cookie()


def of_thread(ns: Netns | None) -> Namespace:
    """The namespace of the calling thread, which has entered `ns` (None: it is in the process's own).

    Raises: KernelError.
    """
    known, own, inode = ns or current(), os.stat(SELF).st_ino, os.stat(_THREAD).st_ino
    told = _own_cookie(os.getpid(), inode) if inode == own else cookie()
    return Namespace(boot_id(), inode, told, known.name, known.path, known.lives_in)


def identify(ns: Netns | None) -> Namespace:
    """The identity of the namespace `ns` (None: the process's own), which is entered to read its cookie.

    Raises: UnknownTarget, NotPermitted, KernelError.
    """
    return (ns or current()).run(lambda: of_thread(ns))


def unentered(ns: Netns) -> Namespace:
    """The identity of a namespace that was found but not entered: without its cookie."""
    return Namespace(boot_id(), ns.inode, None, ns.name, ns.path, ns.lives_in)
