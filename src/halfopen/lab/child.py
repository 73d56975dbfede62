"""The lab's child process. Standard library only and run by its path, so that it starts in some 15 ms.

`child.py exec PARENT COMMAND…` executes COMMAND; `child.py serve PARENT` reads the description of a listener from
stdin, serves it, and reports on stdout what it opened. Both are killed when the thread that started them ends.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # First of all, as Ctrl-C in the terminal reaches the whole process group, and Python would print a traceback.
    import _signal as signal

    if __name__ == "__main__" and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

import ctypes
import json
import mmap
import os
import resource
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
TCP_SYNCNT: Final = 7
_CHUNK: Final = 65536
_ROUND: Final = 1000
# Descriptors that are left for everything else that the process opens.
SPARE_DESCRIPTORS: Final = 256
MOST_OPEN_FILES: Final = 1 << 20


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; exit if it has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def open_files() -> int:
    """How many descriptors this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def open_listeners(want: dict[str, Any]) -> list[socket.socket]:
    """The listening sockets of a description, all on one port, in the calling thread's namespace. Raises: OSError."""
    opened: list[socket.socket] = []
    port = want["port"]
    try:
        for _ in range(want["reuseport"]):
            s = _open_listener(want, port)
            opened.append(s)
            port = s.getsockname()[1]
    except BaseException:
        for s in opened:
            s.close()
        raise
    return opened


def _open_listener(want: dict[str, Any], port: int) -> socket.socket:
    s = socket.socket(socket.AF_INET6 if ":" in want["address"] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        s.setblocking(False)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if want["reuseport"] > 1:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if want["v6only"] is not None and s.family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(want["v6only"]))
        if want["device"]:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, want["device"].encode())
        if want["defer_accept_s"]:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, want["defer_accept_s"])
        if want["retries"] is not None:
            s.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, want["retries"])
        s.bind((want["address"], port))
        s.listen(want["backlog"])
    except BaseException:
        s.close()
        raise
    return s


def serve(listeners: list[socket.socket], echo: bool, stop: int, count: Callable[[int], None]) -> None:
    """Accept every connection until `stop` (a descriptor) is readable, and echo data, or hold connections silently.

    count: called after each round with the total of accepted connections. Without free descriptors, further connections
    wait in the accept queue until a client leaves.
    """
    held: dict[int, socket.socket] = {}
    accepted = 0
    waiting = False
    most = open_files() - SPARE_DESCRIPTORS
    with select.epoll() as poll:
        poll.register(stop, select.EPOLLIN | select.EPOLLHUP)
        by_fd = {s.fileno(): s for s in listeners}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == stop:
                    for s in held.values():
                        s.close()
                    return
                if fd in by_fd:
                    accepted += _accept_all(by_fd[fd], held, poll if echo else None, most)
                    count(accepted)
                elif not _echo(held[fd]):
                    held.pop(fd).close()
            if waiting != (len(held) >= most):
                waiting = not waiting
                for fd in by_fd:
                    poll.modify(fd, 0 if waiting else select.EPOLLIN)


def _accept_all(listener: socket.socket, held: dict[int, socket.socket], poll: select.epoll | None, most: int) -> int:
    n = 0
    # At most this many in a round, so that a flood of real clients does not starve the ones already connected.
    while n < _ROUND and len(held) < most:
        try:
            s, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError:  # the client has left
            break
        s.setblocking(False)
        held[s.fileno()] = s
        if poll is not None:
            poll.register(s.fileno(), select.EPOLLIN)
        n += 1
    return n


def _echo(s: socket.socket) -> bool:
    try:
        data = s.recv(_CHUNK)
        # The lab's clients send few bytes, so data that does not fit the send buffer may be dropped.
        return bool(data) and s.send(data) > 0
    except BlockingIOError:
        return True
    except OSError:
        return False


def _serve_main() -> None:
    want = json.loads(sys.stdin.buffer.readline())
    try:
        listeners = open_listeners(want)
    except OSError as e:
        print(json.dumps({"errno": e.errno}), flush=True)
        return
    opened = {
        "port": listeners[0].getsockname()[1],
        "fds": [s.fileno() for s in listeners],
        "inodes": [os.fstat(s.fileno()).st_ino for s in listeners],
    }
    print(json.dumps(opened), flush=True)
    # This process ends when its standard input is closed, by the lab or because the lab has died.
    if want["mode"] == "never":
        sys.stdin.buffer.read()
        return
    with mmap.mmap(want["count_fd"], 8) as page:
        serve(listeners, want["mode"] == "accept", 0, lambda n: struct.pack_into("=Q", page, 0, n))


def main() -> None:
    role, parent = sys.argv[1], int(sys.argv[2])
    # Ctrl-C in the terminal reaches the whole process group: ignore it, as the lab ends its servers. SIGTERM still
    # works.
    if role == "serve":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    if role == "serve":
        _serve_main()
        return
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as e:
        print(f"halfopen: {sys.argv[3]}: {e.strerror}", file=sys.stderr)
        os._exit(126 if isinstance(e, PermissionError) else 127)


if __name__ == "__main__":
    main()
