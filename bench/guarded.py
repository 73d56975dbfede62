"""The costs of the guard of `protect`, and its ends: packets of connections, and throughput.

Measured with protect.py: python bench/run.py --only protect [--quick]. Throughput goes through a path in user space
(delayed.py), which adds the round-trip time; its own limit is the same in every row.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import delayed
import numpy as np
from forging import acks, armed

from halfopen.core.policy.actions import Protect
from halfopen.core.sample.guard import PROGRAM
from halfopen.lab import Lab
from halfopen.linux.bpf import libbpf
from halfopen.linux.bpf.loader import _RunOptions as RunOptions
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.protect import protect as protecting
from halfopen.ops.protect.armed import Armed
from halfopen.read.guards import guards_in

PORT: Final = 8080
RTT_S: Final = 0.02
_PATH_PER_S: Final = 50e6
COOKIES: Final = "net.ipv4.tcp_syncookies"
STAMPS: Final = "net.ipv4.tcp_timestamps"
_CHUNK: Final = 1 << 16
_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class PacketCost:
    """The guard's own time for an ACK without a cookie (ns, by the kernel's test run): to a guarded port while cookies
    are out, with timestamps and without, to one while none is, and to another port."""

    engaged_ns: float
    bare_ns: float
    armed_ns: float
    other_ns: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bytes a second of one connection of a client without timestamps, by how it was made: each round."""

    name: str
    rounds: tuple[float, ...]

    @property
    def per_s(self) -> float:
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Ending:
    """How clients fare when a guard ends: in order (connections tried meanwhile, and how many failed), or by kill -9
    (connections that the guard had made, and how many are alive); guards that are left."""

    how: str
    tried: int
    failed: int
    left: int


# --- a packet of a connection -----------------------------------------------------------------------------------------


def packet_cost(repeat: int) -> PacketCost:
    """Test runs in the namespace of a lab's server, in which a look-up of a socket finds what a packet's would."""
    with Lab() as lab:
        listener = lab.server.listen(PORT)
        with closing(armed(lab)) as guard:

            def run(port: int, *, stamped: bool = True) -> float:
                frame = acks(lab, port, np.random.default_rng(7), 1, stamped=stamped)[0]
                frame[:12] = 0  # the loopback device's, where a test run begins
                each = [lab.server.run(lambda: _run(guard, frame.tobytes(), repeat // 5)) for _ in range(5)]
                return statistics.median(each)

            quiet, other = run(PORT), run(PORT + 1)
            lab.client.connect(listener, 1)  # a cookie is out
            return PacketCost(run(PORT), run(PORT, stamped=False), quiet, other)


def _run(armed: Armed, frame: bytes, repeat: int) -> float:
    """The mean of so many runs of the guard's program on a frame, ns."""
    data = ctypes.create_string_buffer(frame, len(frame))
    options = RunOptions(size=ctypes.sizeof(RunOptions), data_size_in=len(frame), repeat=repeat)
    options.data_in = ctypes.addressof(data)
    fd = armed.guard._loaded.program_fd(PROGRAM)
    code = libbpf.library().bpf_prog_test_run_opts(fd, ctypes.byref(options))
    if code:
        raise OSError(-code, os.strerror(-code))
    return float(options.duration)


# --- throughput -------------------------------------------------------------------------------------------------------


def throughput(rounds: int, size: int) -> list[Throughput]:
    """One connection at a time, from the server to a client without timestamps, with RTT_S between them.

    size: of one connection; an eighth of it of the slow one.
    """
    rows: dict[str, list[float]] = {"ordinary": [], "the kernel's cookie": [], "the guard's cookie": []}
    with Lab() as lab, delayed.path(lab, RTT_S, _PATH_PER_S):
        lab.client.set_sysctl(STAMPS, 0)
        listener = lab.server.run(lambda: socket.create_server((delayed.SERVER_V4, PORT)))
        with closing(listener):
            for _ in range(rounds):
                rows["ordinary"].append(_bytes_per_s(lab, listener, size))
                lab.server.set_sysctl(COOKIES, 2)
                rows["the kernel's cookie"].append(_bytes_per_s(lab, listener, size // 8))
                lab.server.set_sysctl(COOKIES, 1)
                with closing(armed(lab)) as guard:
                    rows["the guard's cookie"].append(_bytes_per_s(lab, listener, size))
                    if guard.counts().accepted != 1:
                        raise RuntimeError("the connection did not come by the guard")
    return [Throughput(name, tuple(each)) for name, each in rows.items()]


def _bytes_per_s(lab: Lab, listener: socket.socket, size: int) -> float:
    """Of one connection, over the second half of its bytes: it has found its speed by then."""
    target = delayed.SERVER_V4, PORT
    with lab.client.run(lambda: socket.create_connection(target, _WITHIN_S)) as client:
        server, _ = listener.accept()
        sends = threading.Thread(target=server.sendall, args=(bytes(size),))
        sends.start()
        left, begun, half = size, 0.0, 0
        while left:
            left -= len(client.recv(min(left, _CHUNK)))
            if not begun and left <= size // 2:
                begun, half = time.monotonic(), left
        took = time.monotonic() - begun
        sends.join()
        server.close()
    return half / took


# --- how it ends ------------------------------------------------------------------------------------------------------


def endings(clients: int) -> Iterator[Ending]:
    """In order under a flood, while clients connect all the time; and by kill -9, with connections that it made."""
    with Lab() as lab:
        listener = lab.server.listen(PORT, backlog=256)
        lab.client.flood(listener, 5000, 60.0)
        yield _in_order(lab, clients)
    with Lab() as lab:
        listener = lab.server.listen(PORT, backlog=256)
        ready, told = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                guard = armed(lab)
                os.write(told, b"!")
                while True:
                    time.sleep(1)
                    guard.refresh()
            finally:
                os._exit(1)
        os.read(ready, 1)
        lab.client.flood(listener, 5000, 60.0)
        honest = lab.client.connect(listener, min(clients, 1000), timeout=_WITHIN_S)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        alive = honest.alive(_WITHIN_S)
        yield Ending("kill -9, engaged", honest.connected, honest.connected - alive, len(guards_in(lab.server.inode)))


def _in_order(lab: Lab, clients: int) -> Ending:
    ns, stop = resolve(lab.server.netns_path), threading.Event()
    action = Protect(identify(ns), ((None, PORT),), "bench", 0.1)
    guard = threading.Thread(target=lambda: protecting.execute(action, ns, stop=stop))
    guard.start()
    tried, failed = [0], [0]

    def connect() -> None:
        while tried[0] < clients:
            tried[0] += 1
            try:
                with socket.create_connection((lab.server.v4, PORT), _WITHIN_S) as s:
                    s.settimeout(_WITHIN_S)
                    s.sendall(b"?")
                    failed[0] += s.recv(1) != b"?"
            except OSError:
                failed[0] += 1
            # It is taken off when half of them have been there.
            if tried[0] == clients // 2:
                stop.set()

    threads = [threading.Thread(target=lab.client.run, args=(connect,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in (*threads, guard):
        thread.join()
    return Ending("in order, under a flood", tried[0], failed[0], len(guards_in(lab.server.inode)))


# --- the report -------------------------------------------------------------------------------------------------------


def measure(*, quick: bool) -> dict[str, Any]:
    """Everything here; quick: with smaller numbers."""
    return {
        "packets": [packet_cost(200_000 if quick else 2_000_000)],
        "throughput": throughput(1 if quick else 5, (8 if quick else 32) << 20),
        "endings": list(endings(400 if quick else 2000)),
    }


def packet_lines(packets: PacketCost) -> Iterator[str]:
    """The table of packets."""
    yield "The guard's own time for a packet of a connection (the kernel's test run, in a loop)"
    yield f"to a guarded port while cookies are out {packets.engaged_ns:,.0f} ns"
    yield f"the same, without timestamps            {packets.bare_ns:,.0f} ns"
    yield f"to a guarded port while none is out     {packets.armed_ns:,.0f} ns"
    yield f"to another port                         {packets.other_ns:,.0f} ns"


def as_lines(done: dict[str, Any]) -> Iterator[str]:
    """The tables."""
    (packets,) = done["packets"]
    yield from packet_lines(packets)
    yield ""
    yield f"One connection of a client without timestamps, {RTT_S * 1000:.0f} ms round trip, by how it was made"
    usual = done["throughput"][0].per_s
    for row in done["throughput"]:
        each = ", ".join(f"{one / 1e6:.1f}" for one in row.rounds)
        yield f"{row.name:24}{row.per_s / 1e6:>8.1f} MB/s   of an ordinary one {row.per_s / usual:.2f}   rounds {each}"
    yield ""
    yield "How it ends"
    for end in done["endings"]:
        yield f"{end.how:28}{end.tried:>8,} connections, {end.failed:,} of them failed, {end.left} guards left"
