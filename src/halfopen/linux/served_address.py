"""A listening socket for a server: a TCP address or a Unix socket."""

from __future__ import annotations

import errno
import os
import socket

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.units import endpoint
from halfopen.linux.unix_listener import unix_listener


class ServedAddress:
    """Listens from the moment it is made; accept from `socket`."""

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
        """where: ADDRESS:PORT, or a path (with a slash) that `group` may connect to. anywhere: allow an address that
        other hosts can reach. id: of errors. option, permit: named in errors: the option that gave the address, and the
        one that would allow it.

        Raises: UsageError, HalfopenError `id`.
        """
        self.path = where if "/" in where else ""
        if self.path:
            self.socket = unix_listener(where, backlog, id=id, group=group)
        else:
            self.socket = _tcp_listener(where, backlog, id, option, "" if anywhere else permit)
        self._inode = os.stat(where).st_ino if self.path else 0

    def close(self) -> None:
        """Stop listening, and remove the name of a Unix socket if it still belongs to this one."""
        self.socket.close()
        if self.path and _inode(self.path) == self._inode:
            try:
                os.unlink(self.path)
            except OSError:  # the next server replaces it
                pass


def _inode(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def _tcp_listener(where: str, backlog: int, id: str, option: str, permit: str) -> socket.socket:
    """permit: the option that would allow an address that other hosts can reach; empty if that is allowed."""
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
