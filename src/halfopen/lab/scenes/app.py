"""A scene's server program: a process, its workers and how they accept. Standard library only, run by its path.

`app.py PARENT` reads its description from stdin and reports on stdout what it opened. It ends when stdin is closed.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, Final

TCP_SYNCNT: Final = 7
_PR_SET_PDEATHSIG: Final = 1
_PRIORITY: Final = -8
_ROUND: Final = 200
_TRY_AGAIN_S: Final = 0.2
_EPOLLEXCLUSIVE: Final = 1 << 28


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; exit if it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def open_listener(want: dict[str, Any]) -> socket.socket:
    """One listening socket of the description."""
    s = socket.socket(socket.AF_INET6 if ":" in want["address"] else socket.AF_INET, socket.SOCK_STREAM)
    s.setblocking(False)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if want["members"] > 1:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if want["defer_s"]:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, want["defer_s"])
    if want["retries"]:
        s.setsockopt(socket.IPPROTO_TCP, TCP_SYNCNT, want["retries"])
    s.bind((want["address"], want["port"]))
    s.listen(want["backlog"])
    return s


def packed(address: str) -> bytes:
    """An address as 16 bytes, IPv4 as v4-mapped."""
    text = address.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6, text if ":" in text else f"::ffff:{text}")


class Worker:
    """Accepts on its sockets as `mode` says, counting into its place of the page."""

    def __init__(self, want: dict[str, Any], listeners: list[socket.socket], page: mmap.mmap, place: int) -> None:
        self._want, self._listeners, self._page, self._at = want, listeners, page, 8 * place
        self._held: dict[int, socket.socket] = {}
        self._accepted = 0

    def run(self) -> None:
        mode = self._want["mode"]
        if mode == "block":
            time.sleep(1e6)
        elif mode == "slow":
            self._slowly(1.0 / self._want["rate"])
        else:
            self._serve()

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        try:
            s, peer = listener.accept()
        except BlockingIOError:
            return None
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(_TRY_AGAIN_S)
            return None
        self._accepted += 1
        struct.pack_into("=Q", self._page, self._at, self._accepted)
        os.write(self._want["peers_fd"], packed(peer[0]))
        return s

    def _slowly(self, every_s: float) -> None:
        """Accept one connection at a time, with a wait for each that uses no CPU."""
        poll = select.poll()
        for listener in self._listeners:
            poll.register(listener, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                s = self._accept(next(x for x in self._listeners if x.fileno() == fd))
                if s is not None:
                    time.sleep(every_s)
                    s.close()

    def _serve(self) -> None:
        poll = select.epoll()
        by_fd = {s.fileno(): s for s in self._listeners}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN | _EPOLLEXCLUSIVE)
        while True:
            for fd, _ in poll.poll():
                if fd in by_fd:
                    self._accept_round(by_fd[fd], poll)
                elif self._over(self._held[fd]):
                    self._held.pop(fd).close()

    def _accept_round(self, listener: socket.socket, poll: select.epoll) -> None:
        for _ in range(_ROUND):
            s = self._accept(listener)
            if s is None:
                return
            if self._want["work"]:
                _work(self._want["work"])
            if self._want["mode"] == "farewell":
                s.close()
                continue
            s.setblocking(False)
            self._held[s.fileno()] = s
            poll.register(s.fileno(), select.EPOLLIN)

    @staticmethod
    def _over(s: socket.socket) -> bool:
        try:
            return not s.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True


def _work(rounds: int) -> None:
    """Use the CPU as a handler does: about a millisecond for 1,000 rounds."""
    text = b"halfopen"
    for _ in range(rounds):
        text = hashlib.sha256(text).digest()


def _start(want: dict[str, Any], page: mmap.mmap) -> tuple[list[socket.socket], list[int]]:
    if want["nofile"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want["nofile"], want["nofile"]))
    sockets = []
    for _ in range(want["members"]):
        sockets.append(open_listener(want))
        want["port"] = sockets[0].getsockname()[1]
    me, pids = os.getpid(), []
    for i in range(want["workers"]):
        pid = os.fork()
        if pid:
            pids.append(pid)
            continue
        die_with(me)
        os.close(0)
        mine = [sockets[i % len(sockets)]]
        for s in sockets:
            if s not in mine:
                s.close()
        Worker(want, mine, page, i).run()
    return sockets, pids


def main() -> None:
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Run at a better priority, so that a busy machine does not create trouble that is not part of the scene.
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    except OSError:
        pass
    want = json.loads(sys.stdin.buffer.readline())
    page = mmap.mmap(want["page_fd"], 4096)
    try:
        sockets, pids = _start(want, page)
    except OSError as e:
        print(json.dumps({"errno": e.errno}), flush=True)
        return
    print(json.dumps({"port": want["port"], "arbiter": os.getpid(), "pids": pids or [os.getpid()]}), flush=True)
    if pids:
        sys.stdin.buffer.read()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return
    Worker(want, sockets, page, 0).run()


if __name__ == "__main__":
    main()
