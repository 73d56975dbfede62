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

_SIOCETHTOOL, _STSO, _SGRO = 0x8946, 0x1F, 0x2C
_WITHIN_S: Final = 10.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class NapiThread:
    """The kernel thread that hands the packets of the server's device up."""

    pid: int
    core: int

    def cpu_s(self) -> float:
        """CPU time so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / _TICKS

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
    """Have the server's device take packets in by a thread on the last core, and all else, this process included, run
    on the others meanwhile. Raises: BenchError with one core, and where the kernel has no such threads."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise BenchError("a receiving core of its own needs two cores")
    _offload(lab.server, _SGRO, 1)
    _offload(lab.client, _STSO, 0)  # else veth takes the shorter way
    where = f"/sys/class/net/{lab.server.device}/threaded"
    before = _threads()
    done = lab.server.exec(["unshare", "--mount", "sh", "-ec", f"mount -t sysfs sysfs /sys; echo 1 > {where}"])
    if done.returncode:
        raise BenchError(f"no threaded NAPI here: {done.stderr.strip()}")
    deadline = time.monotonic() + _WITHIN_S
    while not (made := _threads() - before):
        if time.monotonic() > deadline:
            raise BenchError("the kernel started no NAPI thread")
        time.sleep(0.01)
    thread = NapiThread(min(made), max(cores))
    os.sched_setaffinity(thread.pid, {thread.core})
    os.sched_setaffinity(0, cores - {thread.core})
    try:
        yield thread
    finally:
        os.sched_setaffinity(0, cores)


def received(lab: Lab) -> int:
    """Packets that the server's device took in so far."""

    def read() -> int:
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            name, _, rest = line.strip().partition(":")
            if name == lab.server.device:
                return int(rest.split()[1])
        return 0

    return lab.server.run(read)


def _offload(host: LabHost, command: int, on: int) -> None:
    def work() -> None:
        value = np.array([command, on], dtype=np.uint32)
        request = struct.pack("16sQ16x", host.device.encode(), value.ctypes.data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            fcntl.ioctl(s, _SIOCETHTOOL, request)

    host.run(work)


def _threads() -> set[int]:
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "comm").read_text().startswith("napi/lab-server"):
                found.add(int(directory.name))
        except OSError:
            continue
    return found
