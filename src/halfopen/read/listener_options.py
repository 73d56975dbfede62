"""Options that can only be read from the listening socket itself (TCP_SYNCNT, TCP_DEFER_ACCEPT), through a duplicate.

`pidfd_getfd` (Linux 5.6) needs PTRACE_MODE_ATTACH over the holder. The duplicate lives for microseconds and is not
changed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Mapping
from typing import Final

from halfopen.core.sample import ListenerOptions
from halfopen.linux.libc import LIBC
from halfopen.read.owners import Holders

_SYS_PIDFD_GETFD: Final = 438  # the same on every architecture


def duplicate(pid: int, descriptor: int) -> socket.socket:
    """A duplicate of another process's socket. Raises: OSError (EPERM without the privilege, ENOSYS before 5.6)."""
    pidfd = os.pidfd_open(pid)
    try:
        fd = LIBC.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(pidfd)
    try:
        return socket.socket(fileno=fd)
    except OSError:  # the descriptor was closed, and its number reused
        os.close(fd)
        raise


def _read(s: socket.socket, syn_retries: int) -> ListenerOptions:
    # If TCP_SYNCNT was never set, the kernel returns tcp_syn_retries of the namespace (do_tcp_getsockopt()).
    retries = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT)
    return ListenerOptions(
        retries=None if retries == syn_retries else retries,
        defer_accept_s=s.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT),
    )


def read_options(found: Holders, settings: Mapping[str, int]) -> tuple[dict[int, ListenerOptions], int]:
    """The options of each held listener by inode, and how many could not be read for lack of privilege.

    A TCP_SYNCNT that equals tcp_syn_retries cannot be told from one that was never set, and counts as not set.
    """
    read: dict[int, ListenerOptions] = {}
    refused = 0
    syn_retries = settings.get("tcp_syn_retries", -1)
    for inode, held in found.by_inode.items():
        for pid, descriptor in held:
            try:
                with duplicate(pid, descriptor) as s:
                    if os.fstat(s.fileno()).st_ino == inode:  # the number may have been reused
                        read[inode] = _read(s, syn_retries)
                        break
            except OSError as e:
                if e.errno in (errno.EPERM, errno.ENOSYS):
                    refused += 1
                    break
    return read, refused
