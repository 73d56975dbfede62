"""CPU time of the server for one SYN from a driver: by the kernel's cookies, by the guard at tc, by its front.

The device is a TAP, whose driver runs XDP programs; nobody reads it, so what the server sends is dropped there. What it
costs to drop the SYN in the driver (native XDP) is not in the figures, nor what sends the SYNs or takes the SYN-ACKs
in, which no server pays.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from halfopen.core.policy.actions import Protect
from halfopen.core.sample.guard import TC, XDP
from halfopen.lab import Lab
from halfopen.lab.frames import Path
from halfopen.lab.host import LabHost
from halfopen.lab.sources import FLOOD
from halfopen.linux.bpf import libbpf, xdp
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.protect import fronts
from halfopen.ops.protect.armed import Armed

PORT: Final = 8080
# Whether a queue is full does not depend on its length; that of a long one would retransmit SYN-ACKs in every round.
BACKLOG: Final = 16
_FILL: Final = 64
_ADDRESS, _GATEWAY = "10.9.0.1", "10.9.0.2"
_OUR_MAC, _GATEWAY_MAC = "02:00:00:00:00:09", "02:00:00:00:00:0a"
_DEVICE: Final = "bench-tap"
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP_NO_PI: Final = 0x1002
_PACKETS: Final = 1 << 17
_XDP_DROP: Final = 1
_BPF_PROG_TYPE_XDP: Final = 6


@dataclass(frozen=True, slots=True)
class SynCost:
    """ns for one SYN beyond dropping it in the driver, in each round, by who answers. program_ns: what the guard's
    program at tc takes of its own, without sending. sockets: TCP sockets and requests of the whole machine, which share
    one hash table: the look-up that all pay takes longer the more there are."""

    kernel: tuple[float, ...]
    tc: tuple[float, ...]
    front: tuple[float, ...]
    program_ns: float
    sockets: int

    def ratio(self, rounds: Sequence[float]) -> float:
        """The kernel / these: the median of the rounds, each of which met the same machine."""
        return statistics.median(kernel / one for kernel, one in zip(self.kernel, rounds, strict=True))


def measure(rounds: int, n: int) -> SynCost:
    """Interleaved rounds of n SYNs each: dropped, answered by the kernel, by the guard at tc, by its front."""
    rows: dict[str, list[float]] = {"kernel": [], TC: [], XDP: []}
    program = []
    with Lab() as lab, _device(lab.server) as fd, as_a_card(_DEVICE):
        lab.server.listen(PORT, backlog=BACKLOG, other_process=True)
        packets = _packets()
        for packet in packets[:_FILL]:
            os.write(fd, packet)
        ns, syns = resolve(lab.server.netns_path), packets[_FILL:]
        for _ in range(rounds):
            with _dropping(lab.server):
                base = _ns_each(fd, syns, n)
            rows["kernel"].append(_ns_each(fd, syns, n) - base)
            for rung in (TC, XDP):
                with closing(Armed(ns, Protect(identify(ns), ((None, PORT),), "bench"), rung)) as armed:
                    rows[rung].append(_ns_each(fd, syns, n) - base)
                    counts = armed.counts()
                    if min(counts.answered, counts.fronted if rung == XDP else n) < 0.9 * n:
                        raise RuntimeError(f"the guard did not answer: {counts}")
                    if rung == TC:
                        program.append(counts.answer_ns or 0.0)
    kernel, tc, front = (tuple(each) for each in rows.values())
    return SynCost(kernel, tc, front, statistics.median(program), sockets_of_machine())


@contextmanager
def as_a_card(device: str) -> Iterator[None]:
    """Have a device pass for a physical one."""
    real = fronts._against
    fronts._against = lambda one, space: real(replace(one, kind="") if one.name == device else one, space)
    try:
        yield
    finally:
        fronts._against = real


@contextmanager
def _dropping(server: LabHost) -> Iterator[None]:
    """The driver drops everything: a program of two instructions."""
    words = struct.pack("<BBhiBBhi", 0xB7, 0, 0, _XDP_DROP, 0x95, 0, 0, 0)  # r0 = XDP_DROP; exit
    instructions = ctypes.create_string_buffer(words, len(words))
    load = libbpf.library().bpf_prog_load
    program = load(_BPF_PROG_TYPE_XDP, b"bench_drop", b"GPL", instructions, ctypes.c_size_t(2), None)
    if program < 0:
        raise OSError(-program, os.strerror(-program))
    link = server.run(lambda: xdp.attach(program, socket.if_nametoindex(_DEVICE), in_driver=True))
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


def _ns_each(fd: int, packets: Sequence[bytes], n: int) -> float:
    """CPU time of this thread for each packet that it writes."""
    write, began = os.write, time.thread_time()
    for i in range(n):
        write(fd, packets[i % len(packets)])
    return (time.thread_time() - began) / n * 1e9


def _packets() -> list[bytes]:
    source, port = FLOOD["spoofed"].pair(np.arange(_PACKETS, dtype=np.uint64), False)
    path = Path(_GATEWAY_MAC, _OUR_MAC, _ADDRESS, PORT)
    frames: Any = path.syns(source, port, np.arange(_PACKETS, dtype=np.uint32) * 977, 1)
    return [frame.tobytes() for frame in frames]


@contextmanager
def _device(server: LabHost) -> Iterator[int]:
    fd = server.run(lambda: os.open("/dev/net/tun", os.O_RDWR))
    try:
        request = struct.pack("16sH22x", _DEVICE.encode(), _IFF_TAP_NO_PI)
        server.run(lambda: fcntl.ioctl(fd, _TUNSETIFF, request))
        batch = (
            f"addr add {_ADDRESS}/24 dev {_DEVICE}\nlink set {_DEVICE} address {_OUR_MAC} up\n"
            f"neigh replace {_GATEWAY} lladdr {_GATEWAY_MAC} dev {_DEVICE}\n"
            f"route replace 198.18.0.0/15 via {_GATEWAY}\n"
        )
        server.exec(["ip", "-batch", "-"], input=batch, check=True)
        server.set_sysctl(f"net.ipv4.conf.{_DEVICE}.rp_filter", 0)
        yield fd
    finally:
        os.close(fd)


def sockets_of_machine() -> int:
    """TCP sockets and requests of all namespaces, by the kernel's slab caches."""
    found = 0
    for line in File("/proc/slabinfo").read_text().splitlines():
        words = line.split()
        if words[0].removeprefix("tw_sock_").removeprefix("request_sock_") in ("TCP", "TCPv6"):
            found += int(words[1])
    return found


def as_lines(done: SynCost) -> Iterator[str]:
    """The table."""
    yield f"CPU time of the server for a SYN, beyond dropping it in the driver of a TAP ({done.sockets:,} TCP sockets)"
    for name, rounds in (
        ("cookies = 1, queue full", done.kernel),
        ("protect, rung tc", done.tc),
        ("protect, rung xdp", done.front),
    ):
        ns = statistics.median(rounds)
        yield f"{name:28}{ns:>8,.0f} ns   kernel / this {done.ratio(rounds):.2f}   medians of {len(rounds)} rounds"
    yield f"the program at tc itself {done.program_ns:,.0f} ns, by its own clock"
