"""A scene's clients: real sockets, many addresses, arrivals as drawn. Standard library only, run by its path.

`visitors.py PARENT` reads its description from stdin. It ends when stdin is closed or its time is up.
"""

from __future__ import annotations

import ctypes
import heapq
import ipaddress
import json
import mmap
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PRIORITY: Final = -8
_IP_FREEBIND: Final = 15
_IPV6_FREEBIND: Final = 78
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_RESET: Final = struct.pack("ii", 1, 0)
_TICK_S: Final = 0.002
_MOST_AT_ONCE: Final = 400
# The page, in eight-byte words.
STARTED, CONNECTED, FAILED, OPEN, SUM_US, MAX_US, LATE = range(7)
# Completions by handshake time: below 2**i milliseconds.
BY_TIME: Final = 16
PAGE: Final = 4096


class Visitors:
    """Opens connections when they are due, says a byte, and leaves as `then` says."""

    def __init__(self, want: dict[str, Any]) -> None:
        self._want = want
        self._page = mmap.mmap(want["page_fd"], PAGE)
        self._rng = random.Random(want["seed"])  # noqa: S311 - repeatable is what is wanted
        self._nets = [ipaddress.ip_network(prefix) for prefix in want["prefixes"]]
        self._v6 = self._nets[0].version == 6
        self._family = socket.AF_INET6 if self._v6 else socket.AF_INET
        self._poll = select.epoll()
        # By descriptor: socket, when it began, whether it is connected.
        self._here: dict[int, tuple[socket.socket, float, bool]] = {}
        self._leave: list[tuple[float, int, float]] = []
        self._begun = time.monotonic()
        self._next_at = self._begun
        self._started = 0

    def _add(self, word: int, n: int = 1) -> None:
        struct.pack_into("=Q", self._page, 8 * word, struct.unpack_from("=Q", self._page, 8 * word)[0] + n)

    def _source(self) -> str:
        net, n = self._rng.choice(self._nets), self._want["addresses"]
        # Spread over the whole prefix; addresses repeat if there are few.
        k = self._rng.randrange(n) * 2654435761 if n > 1 else 0
        return str(net.network_address + (1 + k % max(1, net.num_addresses - 2) if net.num_addresses > 1 else 0))

    def _open(self, now: float) -> None:
        try:
            s = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError:  # out of descriptors: this client is skipped
            self._add(LATE)
            return
        s.setblocking(False)
        source = self._source()
        if self._v6:
            s.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            s.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        s.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        port = self._want["from_port"] + self._started if self._want["from_port"] else 0
        self._started += 1
        self._add(STARTED)
        try:
            if port:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((source, port))
            s.connect((self._want["target"], self._want["port"]))
        except BlockingIOError:
            pass
        except OSError:
            self._add(FAILED)
            s.close()
            return
        self._here[s.fileno()] = (s, now, False)
        self._poll.register(s.fileno(), select.EPOLLOUT)
        heapq.heappush(self._leave, (now + self._want["give_up_s"], s.fileno(), now))

    def _arrive(self, now: float) -> None:
        want = self._want
        for _ in range(_MOST_AT_ONCE):
            if self._next_at > now or self._started >= want["count"] or now > self._begun + want["for_s"]:
                return
            self._open(now)
            if want["burst"]:
                self._next_at += 0.0 if self._started % want["burst"] else want["every_s"]
            else:
                self._next_at += self._rng.expovariate(want["rate"])
        # This machine does not keep up: skip late clients rather than start them in a burst.
        if now - self._next_at > 0.5:
            self._add(LATE, int((now - self._next_at) * 1000))
            self._next_at = now

    def _changed(self, fd: int, event: int, now: float) -> None:
        s, began, connected = self._here[fd]
        if connected:
            # No data is expected: the server has answered or closed, so the connection is done.
            self._end(fd)
            return
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or event & (select.EPOLLERR | select.EPOLLHUP):
            self._add(FAILED)
            self._end(fd)
            return
        self._note(began, now)
        then = self._want["then"]
        try:
            if then == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            elif then != "silent":
                s.send(b"?")
        except OSError:
            pass
        if then in ("close", "reset"):
            self._end(fd)
            return
        self._here[fd] = (s, began, True)
        self._add(OPEN)
        self._poll.modify(fd, select.EPOLLIN)
        heapq.heappush(self._leave, (now + self._want["stay_s"], fd, began))

    def _note(self, began: float, now: float) -> None:
        took_us = int((now - began) * 1e6)
        self._add(CONNECTED)
        self._add(SUM_US, took_us)
        self._add(BY_TIME + (took_us // 1000).bit_length())
        if took_us > struct.unpack_from("=Q", self._page, 8 * MAX_US)[0]:
            struct.pack_into("=Q", self._page, 8 * MAX_US, took_us)

    def _end(self, fd: int) -> None:
        s, _, connected = self._here.pop(fd)
        if connected:
            self._add(OPEN, -1)
        s.close()

    def _go_home(self, now: float) -> None:
        while self._leave and self._leave[0][0] <= now:
            _, fd, began = heapq.heappop(self._leave)
            there = self._here.get(fd)
            if there is None or there[1] != began:
                continue
            if not there[2]:
                self._add(FAILED)
                self._end(fd)
            elif now >= began + self._want["stay_s"]:
                self._end(fd)

    def run(self) -> None:
        self._poll.register(0, select.EPOLLIN | select.EPOLLHUP)
        while (now := time.monotonic()) < self._begun + 600:
            self._arrive(now)
            self._go_home(now)
            wait = max(_TICK_S, min(0.05, self._next_at - now))
            for fd, event in self._poll.poll(wait):
                if fd == 0:
                    return
                if fd in self._here:
                    self._changed(fd, event, time.monotonic())


def main() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Run at a better priority, so that a busy machine does not create trouble that is not part of the scene.
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    except OSError:
        pass
    Visitors(json.loads(sys.stdin.buffer.raw.readline())).run()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
