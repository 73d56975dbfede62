"""Honest clients: real sockets of the client's kernel, which connects and answers for them."""

from __future__ import annotations

import select
import socket
import time
from typing import Final

from halfopen.core.errors import LabError, UsageError
from halfopen.lab.child import SPARE_DESCRIPTORS, open_files
from halfopen.lab.host import LabHost

MAX_CLIENTS: Final = 20_000
# How many connect at once: a larger burst would overflow a small backlog, and delay clients by a second.
_GROUP: Final = 64
_GROUP_PATIENCE_S: Final = 0.25


class Honest:
    """`n` connected clients; `sockets` has all of them, connected or still trying."""

    def __init__(self, client: LabHost, target: str, port: int, n: int, timeout: float) -> None:
        """Connect n clients within `timeout` seconds. Raises: UsageError, LabError."""
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= MAX_CLIENTS:
            raise UsageError(f"the lab has 0 to {MAX_CLIENTS:,} honest clients, not {n!r}")
        _check_descriptors(n)
        self.sockets: list[socket.socket] = []
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        deadline = time.monotonic() + timeout

        def connect() -> None:
            for first in range(0, n, _GROUP):
                group = [_begin(family, target, port, self.sockets) for _ in range(min(_GROUP, n - first))]
                _wait_connected(group, min(deadline, time.monotonic() + _GROUP_PATIENCE_S))

        try:
            client.run(connect)
            _wait_connected(self.sockets, deadline)
        except BaseException:
            self.close()
            raise

    @property
    def connected(self) -> int:
        """How many are connected now, as the client's kernel sees it."""
        return sum(_is_connected(s) for s in self.sockets)

    def alive(self, timeout: float = 10.0) -> int:
        """Send each connected client's byte and count those that get it back within `timeout` seconds."""
        asked = {s.fileno(): s for s in self.sockets if _drained(s) and _send(s)}
        back = 0
        deadline = time.monotonic() + timeout
        with select.epoll() as poll:
            for fd in asked:
                poll.register(fd, select.EPOLLIN)
            while asked and (left := deadline - time.monotonic()) > 0:
                for fd, _ in poll.poll(left):
                    back += _receive(asked.pop(fd))
                    poll.unregister(fd)
        return back

    def close(self) -> None:
        """Close them all."""
        for s in self.sockets:
            s.close()
        self.sockets = []

    stop = close


def _check_descriptors(n: int) -> None:
    most = open_files()
    # The lab's own listener accepts in the same process: two descriptors a connection.
    need = 2 * (n + SPARE_DESCRIPTORS)
    if need > most:
        raise LabError(f"{n} honest clients need {need} open files, the limit is {most}", hint=f"ulimit -n {need}")


def _begin(family: int, target: str, port: int, kept: list[socket.socket]) -> socket.socket:
    s = socket.socket(family, socket.SOCK_STREAM)
    kept.append(s)
    s.setblocking(False)
    s.connect_ex((target, port))
    return s


def _wait_connected(sockets: list[socket.socket], deadline: float) -> None:
    waiting = {s.fileno() for s in sockets if not _is_connected(s)}
    with select.epoll() as poll:
        for fd in waiting:
            poll.register(fd, select.EPOLLOUT)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(left):
                poll.unregister(fd)
                waiting.discard(fd)


def _is_connected(s: socket.socket) -> bool:
    try:
        s.getpeername()
    except OSError:
        return False
    return True


def _drained(s: socket.socket) -> bool:
    if not _is_connected(s):
        return False
    try:
        return bool(s.recv(65536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _send(s: socket.socket) -> bool:
    try:
        return s.send(b"?") == 1
    except OSError:
        return False


def _receive(s: socket.socket) -> bool:
    try:
        return bool(s.recv(65536))
    except OSError:
        return False
