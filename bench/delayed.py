"""A path with a round-trip time: a TUN device in each host of a lab, and a process between them that delays packets.

The devices hand packets over as large as TCP makes them (TSO, with a virtio_net header), so that the process could
carry more than the path is said to take, and is no limit of a connection.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from halfopen.lab import Lab
from halfopen.lab.host import LabHost

SERVER_V4: Final = "198.51.100.1"
CLIENT_V4: Final = "198.51.100.2"
_DEVICE: Final = "bench-tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
# IFF_TUN | IFF_NO_PI | IFF_VNET_HDR; TUN_F_CSUM | TUN_F_TSO4.
_FLAGS: Final = 0x0001 | 0x1000 | 0x4000
_OFFLOADS: Final = 1 | 2
_LARGEST: Final = 1 << 17


@contextmanager
def path(lab: Lab, rtt_s: float, per_s: float) -> Iterator[None]:
    """Join the hosts of a lab by a further path, from CLIENT_V4 to SERVER_V4, meanwhile. per_s: bytes a second that it
    takes each way; more wait."""
    ends = [_end(lab.server, SERVER_V4, CLIENT_V4), _end(lab.client, CLIENT_V4, SERVER_V4)]
    pid = os.fork()
    if not pid:
        try:
            _carry(ends[0], ends[1], rtt_s / 2, per_s)
        finally:
            os._exit(1)
    for fd in ends:
        os.close(fd)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _end(host: LabHost, mine: str, peer: str) -> int:
    """A device in a host; its descriptor."""
    # It belongs to the namespace in which it was opened.
    fd = host.run(lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _FLAGS))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
    host.exec(["ip", "addr", "add", mine, "peer", peer, "dev", _DEVICE], check=True)
    host.exec(["ip", "link", "set", _DEVICE, "up", "txqueuelen", "10000"], check=True)
    return fd


def _carry(one: int, other: int, delay_s: float, per_s: float) -> None:
    """Carry packets between two descriptors, each so late or when there is room, until it is killed."""
    to = {one: other, other: one}
    waiting: dict[int, deque[tuple[float, bytes]]] = {fd: deque() for fd in to}
    free = dict.fromkeys(to, 0.0)
    with select.epoll() as poll:
        for fd in to:
            poll.register(fd, select.EPOLLIN)
        while True:
            due = min((queue[0][0] for queue in waiting.values() if queue), default=time.monotonic() + 1)
            for fd, _ in poll.poll(max(0.0, due - time.monotonic())):
                packet = os.read(fd, _LARGEST)
                free[fd] = max(time.monotonic(), free[fd]) + len(packet) / per_s
                waiting[to[fd]].append((free[fd] + delay_s, packet))
            for fd, queue in waiting.items():
                while queue and queue[0][0] <= time.monotonic():
                    os.write(fd, queue.popleft()[1])
