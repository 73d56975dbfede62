"""One listening socket, found among all processes by inode and cookie, and duplicated for a moment."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.tune.spots import ListeningSocket
from halfopen.core.units import address_text
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import sockdiag
from halfopen.read.bpf import programs
from halfopen.read.listener_options import duplicate
from halfopen.read.ptrace_refusal import refusal

# Not in Python's socket module. SO_PROTOCOL: since Linux 2.6.32, SO_COOKIE: since 4.12 (`sk_getsockopt()`).
_SO_PROTOCOL: Final = 38
_SO_COOKIE: Final = 57
_IPPROTO_MPTCP: Final = 262


def rows() -> NDArray[Any]:
    """The listeners of the calling thread's namespace, (L,) LISTENER. Raises: as `sockdiag.listeners`."""
    with open_sock_diag() as s:
        return sockdiag.listeners(s)[0]


def identity(row: Any) -> ListeningSocket:
    """The identity of the listener of a row."""
    family = int(row["family"])
    return ListeningSocket(
        family, address_text(family, bytes(row["address"])), int(row["port"]), int(row["inode"]), int(row["cookie"])
    )


def is_mptcp(s: socket.socket) -> bool:
    """Whether it is a Multipath TCP listener: the kernel's tables then show a TCP socket inside it."""
    return s.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == _IPPROTO_MPTCP


def lend(who: ListeningSocket, holders: Sequence[tuple[int, int]]) -> socket.socket | None:
    """A duplicate of the listener `who`, from the first of its holders (pid, descriptor) that allows it; close it soon.

    None if no holder has the socket any more. Raises: NotPermitted, Unsupported, KernelError if the holders that have
    it refuse.
    """
    refused: HalfopenError | None = None
    for pid, descriptor in holders:
        try:
            s = duplicate(pid, descriptor)
        except OSError as e:
            # The process has ended or closed the socket since it was found.
            if e.errno not in (errno.ESRCH, errno.EBADF, errno.ENOTSOCK):
                refused = refused or refusal(pid, e.errno or 0)
            continue
        if _is(s, who):
            return s
        s.close()
    if refused is not None:
        raise refused
    return None


def _is(s: socket.socket, who: ListeningSocket) -> bool:
    # The number of the descriptor may have been reused for another socket.
    if os.fstat(s.fileno()).st_ino != who.inode:
        return False
    # A Multipath TCP socket and the listener inside it share the inode, but not the cookie.
    cookie = int.from_bytes(s.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")
    return cookie == who.cookie or is_mptcp(s)


def set_retries(expected: int) -> dict[int, int] | None:
    """TCP_SYNCNT of every listener of the calling thread's namespace by cookie (0: not set); None without eBPF.

    expected: how many listeners there are.
    """
    try:
        pulse = programs.pulse().read(expected)
    except HalfopenError:
        return None
    return dict(zip(pulse["cookie"].tolist(), pulse["syn_retries"].tolist(), strict=True))
