"""An address, or the name of a Unix socket, at which something is served to others."""

from __future__ import annotations

import errno
import os
import socket

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.units import endpoint
from halfopen.linux.unix_listener import unix_listener


class ServedAddress:
    """Listens from now on; `socket` is what is accepted from."""

    def __init__(
        self,
        where: str,
        backlog: int,
        *,
        id: str,
        option: str,
        permit: str,
        anywhere: bool = False,
        group: int | None = None,
    ) -> None:
        """where: ADDRESS:PORT, or a path with a slash in it, for `group`. anywhere: other hosts may reach the address.
        id: of errors; option, permit: for their words, which option named the address and which one allows such.

        Raises: UsageError, HalfopenError `id`.
        """
        self.path = where if "/" in where else ""
        if self.path:
            self.socket = unix_listener(where, backlog, id=id, group=group)
        else:
            self.socket = _tcp_listener(where, backlog, id, option, "" if anywhere else permit)
        self._inode = os.stat(where).st_ino if self.path else 0

    def close(self) -> None:
        """Listen no more; the name of a Unix socket goes, where it is still this one's."""
        self.socket.close()
        if self.path and _inode(self.path) == self._inode:
            try:
                os.unlink(self.path)
            except OSError:  # the next one that is served here replaces it
                pass


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def _tcp_listener(where: str, backlog: int, id: str, option: str, permit: str) -> socket.socket:
    """permit: the words that would allow an address that others can reach; empty where that is allowed."""
    address, port = endpoint(where, what=option)
    if address is None:
        raise UsageError(f"{option} {where!r} names no address", hint=f"give one, as in 127.0.0.1:{port}")
    if permit and not address.is_loopback:
        raise UsageError(
            f"{option} {where}: other hosts could reach that address",
            hint=f"listen on 127.0.0.1:{port} or [::1]:{port}, or add {permit}",
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        return socket.create_server((str(address), port), family=family, backlog=backlog)
    except OSError as e:
        hint = {
            errno.EADDRINUSE: "another program listens there; choose another port",
            errno.EADDRNOTAVAIL: "no device of this network namespace has that address",
            errno.EACCES: "choose a port from 1024 up",
        }.get(e.errno or 0, "choose another address")
        raise HalfopenError(id, f"{where}: {os.strerror(e.errno or 0)}", hint=hint) from None
