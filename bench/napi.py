"""A device of the lab that takes packets in as a network card does: a ring, and a kernel thread on its own core."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from inside import BenchError

from halfopen.lab import Lab
from halfopen.lab.host import LabHost

_SIOCETHTOOL: Final = 0x8946
TX_CHECKSUMS, GRO, _TSO = 0x17, 0x2C, 0x1F
_WITHIN_S: Final = 10.0
_SESSION: Final = Path("/proc/self/autogroup")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class NapiThread:
    """The kernel thread that hands the packets of the server's device up."""

    pid: int
    core: int

    def cpu_s(self) -> float:
        """CPU time so far: of the interrupts that it polls for as well."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def core_s(self) -> float:
        """How long its core has been busy so far, with whatever it was."""
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name == f"cpu{self.core}":
                # user, nice, system, (idle, iowait,) irq, softirq, steal
                return sum(int(times[i]) for i in (0, 1, 2, 5, 6, 7)) / _TICKS
        return 0.0


@contextmanager
def on_a_core_of_its_own(lab: Lab) -> Iterator[NapiThread]:
    """Have the server's device take packets in by a thread on the last core, which comes before processes there, as a
    card's interrupts do, and all else, this process included, run on the others meanwhile, before other users.

    The server has no queue of packets before its device then, whose lock would be among its costs.
    Raises: BenchError with one core, and where the kernel has no such threads."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise BenchError("a receiving core of its own needs two cores")
    offload(lab.server, lab.server.device, GRO, 1)
    offload(lab.client, lab.client.device, _TSO, 0)  # else veth takes the shorter way
    lab.server.exec(["tc", "qdisc", "del", "dev", lab.server.device, "root"], check=True)
    thread = NapiThread(_threaded(lab.server), max(cores))
    os.sched_setaffinity(thread.pid, {thread.core})
    os.sched_setscheduler(thread.pid, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setaffinity(0, cores - {thread.core})
    try:
        with first():
            yield thread
    finally:
        os.sched_setaffinity(0, cores)


@contextmanager
def first() -> Iterator[None]:
    """The processes of this session come before those of others, where the kernel goes by sessions (autogroup)."""
    try:
        _SESSION.write_text("-20")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        _SESSION.write_text("0")


def _threaded(host: LabHost) -> int:
    """The thread that now takes packets in on the host's device. Raises: BenchError where there is none."""
    where = f"/sys/class/net/{host.device}/threaded"
    before = _threads(host)
    done = host.exec(["unshare", "--mount", "sh", "-ec", f"mount -t sysfs sysfs /sys; echo 1 > {where}"])
    if done.returncode:
        raise BenchError(f"no threaded NAPI here: {done.stderr.strip()}")
    deadline = time.monotonic() + _WITHIN_S
    while not (made := _threads(host) - before):
        if time.monotonic() > deadline:
            raise BenchError("the kernel started no NAPI thread")
        time.sleep(0.01)
    return min(made)


def received(lab: Lab) -> int:
    """Packets that the server's device took in so far."""

    def read() -> int:
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            name, _, rest = line.strip().partition(":")
            if name == lab.server.device:
                return int(rest.split()[1])
        return 0

    return lab.server.run(read)


def offload(host: LabHost, device: str, command: int, on: int) -> None:
    """Have a device of the host do something of its own (1), or not (0). Raises: OSError."""

    def work() -> None:
        value = np.array([command, on], dtype=np.uint32)
        request = struct.pack("16sQ16x", device.encode(), value.ctypes.data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, _SIOCETHTOOL, request)

    host.run(work)


def _threads(host: LabHost) -> set[int]:
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "comm").read_text().startswith(f"napi/{host.device}"):
                found.add(int(directory.name))
        except OSError:
            continue
    return found
