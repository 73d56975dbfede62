"""Sees a network namespace end: the kernel drops the id another namespace gave it when it is gone for good.

An id (RTM_NEWNSID) holds no reference, and a namespace that only descriptors hold shows nowhere else.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from types import TracebackType
from typing import Final

from halfopen.linux import netns

_RTM_NEWNSID: Final = 88
_RTM_GETNSID: Final = 90
_NLM_F_REQUEST: Final = 1
_NLM_F_ACK: Final = 4
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NETNSA_NSID: Final = 1
_NETNSA_FD: Final = 3


class Witness:
    """A namespace of its own that gives ids to those it watches."""

    def __enter__(self) -> Witness:
        self._fd = netns.create()
        self._socket = netns.run_in(self._fd, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
        self._next = 1
        return self

    def watch(self, path: str) -> None:
        """Watch the namespace that `path` opens; keeps nothing of it open."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            attributes = struct.pack("=HHi", 8, _NETNSA_NSID, self._next) + struct.pack("=HHI", 8, _NETNSA_FD, fd)
            self._send(_RTM_NEWNSID, _NLM_F_ACK, attributes)
            kind, error = struct.unpack_from("=4xH10xi", self._socket.recv(65536))
            assert (kind, error) == (_NLMSG_ERROR, 0)
        finally:
            os.close(fd)
        self._next += 1

    def alive(self) -> int:
        """How many of the watched namespaces there still are."""
        self._send(_RTM_GETNSID, _NLM_F_DUMP, b"")
        n = 0
        while True:
            data = self._socket.recv(65536)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == _NLMSG_DONE:
                    return n
                n += kind == _RTM_NEWNSID
                data = data[(length + 3) & ~3 :]

    def wait_gone(self, timeout: float = 15.0) -> None:
        """Fails when one is still there after `timeout` seconds; the kernel takes namespaces down in the background."""
        deadline = time.monotonic() + timeout
        while n := self.alive():
            assert time.monotonic() < deadline, f"{n} namespaces are still there"
            time.sleep(0.05)

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        body = bytes(4) + attributes  # struct rtgenmsg
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags | _NLM_F_REQUEST, 1, 0) + body)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        os.close(self._fd)
