"""The user at the other end of a Unix socket, as the kernel reports it."""

from __future__ import annotations

import socket
import struct
from typing import Final

from msgspec import Struct

# Since Linux 4.13; not in Python's socket module.
_SO_PEERGROUPS: Final = 59
_UCRED: Final = struct.Struct("3i")
# Room for 256 groups, the most that Python's getsockopt() takes.
_GROUP_BYTES: Final = 1024


class SocketPeer(Struct, frozen=True):
    """The user and all groups of a process at the moment it connected."""

    uid: int
    groups: frozenset[int]


def peer(accepted: socket.socket) -> SocketPeer:
    """The peer. Without SO_PEERGROUPS, or with more than 256 groups, only its primary group is known. Raises: OSError.

    Source: unix(7), SO_PEERCRED; sk_getsockopt(), net/core/sock.c.
    """
    _, uid, gid = _UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        raw = accepted.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUP_BYTES)
    except OSError:
        raw = b""
    return SocketPeer(uid, frozenset((gid, *struct.unpack(f"{len(raw) // 4}I", raw))))
