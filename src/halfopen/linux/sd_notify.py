"""Reporting the state of a service to systemd: READY=1, STATUS=…, WATCHDOG=1 (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from typing import Final

from halfopen.linux.well_known import NOTIFY_SOCKET, WATCHDOG

_OFTEN_S: Final = 10.0


class SystemdNotifier:
    """Sends to $NOTIFY_SOCKET; does nothing where there is none. A message that cannot be sent at once is dropped."""

    def __init__(self, path: str | None = None) -> None:
        path = os.environ.get(NOTIFY_SOCKET, "") if path is None else path
        # An abstract address is written with @ instead of its leading zero byte.
        self._to = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None

    @property
    def often_s(self) -> float:
        """How often to send WATCHDOG=1: each message wakes systemd."""
        watched_us = os.environ.get(WATCHDOG, "")
        return min(_OFTEN_S, int(watched_us) / 4e6) if watched_us.isdecimal() else _OFTEN_S

    def send(self, *lines: str) -> bool:
        """Send these lines in one message. Returns whether systemd got it."""
        if self._socket is None:
            return False
        try:
            # Must not block: a systemd that hangs must not stop the watch.
            self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket; later messages are dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
