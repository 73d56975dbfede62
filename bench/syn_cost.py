"""CPU time of the server for one SYN: by the kernel's cookies, and by the guard.

The server takes its SYNs in by a TUN device that nobody reads: what it sends is dropped at the device. So the figures
hold neither what sends the SYNs nor what takes the SYN-ACKs in, which no server pays.
"""

from __future__ import annotations

import fcntl
import os
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from halfopen.core.policy.actions import Protect
from halfopen.lab import Lab
from halfopen.lab.flood import path_to
from halfopen.lab.frames import ETH
from halfopen.lab.host import LabHost
from halfopen.lab.sources import FLOOD
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.protect.armed import Armed

PORT: Final = 8080
# Whether a queue is full does not depend on its length; that of a long one would retransmit SYN-ACKs in every round.
BACKLOG: Final = 16
_ADDRESS: Final = "10.9.0.1"
_DEVICE: Final = "bench-tun"
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_DROP: Final = f"table netdev t {{ chain c {{ type filter hook ingress device {_DEVICE} priority 0; drop; }}; }}"
_PACKETS: Final = 1 << 17
# More than fill the SYN queue: the rest is of addresses and ports that the queue does not hold.
_FILL: Final = 2 * BACKLOG


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time for one SYN beyond dropping it before anything else looks at it, ns: each round."""

    name: str
    rounds_ns: tuple[float, ...]

    @property
    def ns(self) -> float:
        return statistics.median(self.rounds_ns)


@dataclass(frozen=True, slots=True)
class SynCost:
    """Both costs. program_ns: what the guard's program takes of its own, without sending. sockets: TCP sockets and
    requests of the whole machine, which share one hash table: the look-up that both pay takes longer the more there
    are."""

    kernel: Cost
    guard: Cost
    program_ns: float
    sockets: int

    @property
    def ratio(self) -> float:
        """Kernel / guard: the median of the rounds, each of which met the same machine."""
        return statistics.median(
            kernel / guard for kernel, guard in zip(self.kernel.rounds_ns, self.guard.rounds_ns, strict=True)
        )


def measure(rounds: int, n: int) -> SynCost:
    """Interleaved rounds of n SYNs each: dropped, answered by the kernel, answered by the guard."""
    kernel, guard, program = [], [], []
    with Lab() as lab, _device(lab.server) as fd:
        lab.server.listen(PORT, backlog=BACKLOG, other_process=True)
        packets = _packets()
        for packet in packets[:_FILL]:
            os.write(fd, packet)
        ns = resolve(lab.server.netns_path)
        syns = packets[_FILL:]
        for _ in range(rounds):
            lab.server.exec(["nft", _DROP], check=True)
            base = _ns_each(fd, syns, n)
            lab.server.exec(["nft", "flush", "ruleset"], check=True)
            kernel.append(_ns_each(fd, syns, n) - base)
            with closing(Armed(ns, Protect(identify(ns), ((None, PORT),), "bench"))) as armed:
                guard.append(_ns_each(fd, syns, n) - base)
                counts = armed.counts()
                if counts.answered < 0.9 * n:
                    raise RuntimeError(f"the guard did not answer: {counts}")
                program.append(counts.answer_ns or 0.0)
    return SynCost(
        Cost("cookies = 1, queue full", tuple(kernel)),
        Cost("protect, engaged", tuple(guard)),
        statistics.median(program),
        sockets_of_machine(),
    )


def _ns_each(fd: int, packets: Sequence[bytes], n: int) -> float:
    """CPU time of this thread for each packet that it writes: the kernel takes it in and answers it meanwhile."""
    write, began = os.write, time.thread_time()
    for i in range(n):
        write(fd, packets[i % len(packets)])
    return (time.thread_time() - began) / n * 1e9


def _packets() -> list[bytes]:
    source, port = FLOOD["spoofed"].pair(np.arange(_PACKETS, dtype=np.uint64), False)
    path = path_to(_ADDRESS, PORT)
    frames: Any = path.syns(source, port, np.arange(_PACKETS, dtype=np.uint32) * 977, 1)
    return [frame.tobytes() for frame in frames[:, ETH:]]


@contextmanager
def _device(server: LabHost) -> Iterator[int]:
    fd = server.run(lambda: os.open("/dev/net/tun", os.O_RDWR))
    try:
        request = struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN_NO_PI)
        server.run(lambda: fcntl.ioctl(fd, _TUNSETIFF, request))
        batch = f"addr add {_ADDRESS}/24 dev {_DEVICE}\nlink set {_DEVICE} up\n"
        server.exec(["ip", "-batch", "-"], input=f"{batch}route replace 198.18.0.0/15 dev {_DEVICE}\n", check=True)
        server.set_sysctl(f"net.ipv4.conf.{_DEVICE}.rp_filter", 0)
        yield fd
    finally:
        os.close(fd)


def sockets_of_machine() -> int:
    """TCP sockets and requests of all namespaces, by the kernel's slab caches."""
    found = 0
    for line in Path("/proc/slabinfo").read_text().splitlines():
        words = line.split()
        if words[0].removeprefix("tw_sock_").removeprefix("request_sock_") in ("TCP", "TCPv6"):
            found += int(words[1])
    return found


def as_lines(done: SynCost) -> Iterator[str]:
    """The table."""
    yield f"CPU time of the server for a SYN, beyond dropping it at ingress (median of the rounds; {done.sockets:,} TCP"
    yield "sockets on the machine, which share the hash table that both look into)"
    for one in (done.kernel, done.guard):
        each = ", ".join(f"{ns:,.0f}" for ns in one.rounds_ns)
        yield f"{one.name:28}{one.ns:>8,.0f} ns   rounds {each}"
    yield f"kernel / guard {done.ratio:.2f}; the guard's program itself {done.program_ns:,.0f} ns, by its own clock"
