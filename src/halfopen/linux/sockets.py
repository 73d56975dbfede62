"""Sockets for both reading and changing: sock_diag, and the test of a privilege."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from halfopen.core.errors import TOO_LITTLE, KernelError, NotPermitted, Unsupported

_NETLINK_SOCK_DIAG: Final = 4
_TCP_REPAIR: Final = 19
# A kernel that does not answer is a bug: report it, rather than hang.
ANSWER_WITHIN_S: Final = 30


def open_sock_diag() -> socket.socket:
    """A sock_diag socket in the calling thread's network namespace.

    Raises: Unsupported if the kernel has no sock_diag, NotPermitted if it is refused (seccomp, LSM), KernelError for
    lack of descriptors or memory.
    """
    try:
        s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    except PermissionError:
        raise NotPermitted(
            "opening a sock_diag socket is refused", hint="allow AF_NETLINK in the seccomp filter"
        ) from None
    except OSError as e:
        must_not_lack(e, "opening a sock_diag socket")
        raise Unsupported(
            "sock_diag", f"no sock_diag socket: {os.strerror(e.errno or 0)}", hint="modprobe tcp_diag"
        ) from None
    # A timeout in the kernel, as Python's own would cost a poll() for each recv().
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WITHIN_S, 0))
    return s


def must_not_lack(error: OSError, op: str) -> None:
    """Raise KernelError if the error means lack of descriptors or memory: it then says nothing about what the kernel
    supports.
    """
    if error.errno in TOO_LITTLE:
        raise KernelError(op, error.errno, os.strerror(error.errno)) from None


def has_net_admin() -> bool:
    """Whether this process has CAP_NET_ADMIN over the calling thread's network namespace.

    Tested by setting TCP_REPAIR on a new socket: it needs the privilege that SOCK_DESTROY needs,
    ns_capable(net->user_ns, CAP_NET_ADMIN) (`tcp_can_repair_sock()`, `sock_diag_destroy()`), and has no other effect.
    Raises: OSError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
        try:
            fresh.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
        except PermissionError:
            return False
    return True
