"""Honest clients of a listener in the lab, and the forged SYNs that stand in their way.

The clients are sockets of a kernel that connect, send a byte and wait for the answer. The round trip takes 60 ms where
SYNs are poured (pouring.py), else no time, so a client is *immediate* when the answer is there within 250 ms: no SYN or
byte of it was lost on the way.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.lab import Lab
from halfopen.lab.flood import path_to
from halfopen.lab.sources import FLOOD
from halfopen.linux.netns import run_in

PORT: Final = 8080
BACKLOG: Final = 4096
PER_S: Final = 300
IMMEDIATE_S, WITHIN_S, DONE_S = 0.25, 1.3, 6.0
FRAMES: Final = 65_536


@dataclass(slots=True)
class Served:
    """How honest clients fared: how many there were, answered within each of the three times, with window scaling; the
    SYNs a second that were sent."""

    name: str
    rate: int
    clients: int
    immediate: int
    within: int
    done: int
    scaled: int
    took_in_per_s: float

    def shares(self) -> list[str]:
        """Those answered within each of the three times."""
        return [f"{100 * n / max(self.clients, 1):.1f}%" for n in (self.immediate, self.within, self.done)]


def frames(lab: Lab) -> NDArray[np.uint8]:
    """SYNs from forged addresses, (FRAMES, 74)."""
    source, port = FLOOD["spoofed"].pair(np.arange(FRAMES, dtype=np.uint64), False)
    return path_to(lab.server.v4, PORT).syns(source, port, np.arange(FRAMES, dtype=np.uint32) * 977, 1)


def served(lab: Lab, seconds: float) -> dict[str, Any]:
    """PER_S clients a second, in a process of their own, so that they do not wait for the sender of the flood."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            run_in(lab.client.netns_fd, lambda: _clients(lab.server.v4, seconds, write))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads(text or '{"started": 0, "took": []}')
    return found


def counted(name: str, rate: int, found: dict[str, Any], sent_per_s: float) -> Served:
    """What became of the clients of `served`."""
    took = [one for one, _ in found["took"]]
    within = [sum(one <= limit for one in took) for limit in (IMMEDIATE_S, WITHIN_S, DONE_S)]
    # Of those that are done: a connection that failed later has options as well.
    scaled = sum(bool(options & 4) for seconds, options in found["took"] if seconds <= DONE_S)
    return Served(name, rate, found["started"], *within, scaled, sent_per_s)


def _clients(target: str, seconds: float, out: int) -> None:
    """Connect so many a second, ask each for an answer, and write how long each took, and its options, to `out`."""
    begun, started = time.monotonic(), 0
    waiting: dict[int, tuple[socket.socket, float]] = {}
    took: list[tuple[float, int]] = []
    with select.epoll() as poll:
        while (now := time.monotonic()) < begun + seconds + DONE_S and (waiting or now < begun + seconds):
            while now < begun + seconds and started < (now - begun) * PER_S:
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((target, PORT))
                waiting[s.fileno()] = s, time.monotonic()
                poll.register(s, select.EPOLLOUT)
                started += 1
            for fd, event in poll.poll(0.002):
                s, at = waiting[fd]
                if event & select.EPOLLOUT and not event & (select.EPOLLHUP | select.EPOLLERR):
                    s.send(b"?")
                    poll.modify(fd, select.EPOLLIN)
                    continue
                options = s.getsockopt(socket.IPPROTO_TCP, 11, 104)[5]
                if not event & (select.EPOLLHUP | select.EPOLLERR):
                    took.append((time.monotonic() - at, options))
                poll.unregister(fd)
                del waiting[fd]
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
    os.write(out, json.dumps({"started": started, "took": took}).encode())
