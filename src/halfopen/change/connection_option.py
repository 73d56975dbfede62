"""Changes to a connection through a duplicate of its descriptor: keepalive options, and an orderly end."""

from __future__ import annotations

import socket
from typing import Final

from halfopen.core.policy.connection_actions import KeepaliveOptions

_TCP_INFO_STATE: Final = 1


def state_of(s: socket.socket) -> int:
    """The TCP state of a socket (tcp_info). Raises: OSError."""
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_STATE)[0]


def set_options(s: socket.socket, wanted: KeepaliveOptions) -> KeepaliveOptions:
    """Set options and return the old values. SO_KEEPALIVE is set first: TCP_KEEPIDLE rearms the timer only while it is
    on, and lets the first probe leave at once if the connection was idle for that long already. Raises: OSError.
    """
    options = (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, None if wanted.on is None else int(wanted.on)),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, wanted.idle_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, wanted.interval_s),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, wanted.probes),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, wanted.user_timeout_ms),
    )
    before = [s.getsockopt(level, name) for level, name, _ in options]
    for level, name, value in options:
        if value is not None:
            s.setsockopt(level, name, value)
    return KeepaliveOptions(bool(before[0]), *before[1:])


def shut_down(s: socket.socket) -> None:
    """Send the FIN that the program has not sent. Raises: OSError."""
    s.shutdown(socket.SHUT_WR)
