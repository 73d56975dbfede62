"""The probe of memory: small files of /proc."""

from __future__ import annotations

import mmap
from typing import Final

from halfopen.core.sample.memory import MemoryReading
from halfopen.linux import small_files
from halfopen.read import machine_settings
from halfopen.read.probe import Probe
from halfopen.wire import memory

_NET: Final = "/proc/thread-self/net"
# cgroup v1 shows "no limit" as a number this large or larger.
_NO_LIMIT: Final = 2**60
_OLD: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def probe() -> Probe:
    """The probe of memory in the calling thread's namespace."""
    return Probe("memory", ("proc_net_tcp",), lambda _: read(), vital=True)


def read() -> MemoryReading:
    """The memory that TCP and the machine use now, and the limits."""
    totals = memory.sockstat(small_files.text(f"{_NET}/sockstat"))
    limits = [int(word) for word in machine_settings.text("tcp_mem").split() if word.isdigit()]
    most = machine_settings.text("tcp_max_orphans")
    limit, used = _cgroup()
    return MemoryReading(
        page_bytes=mmap.PAGESIZE,
        pages=totals.get("mem", 0),
        limits=(limits[0], limits[1], limits[2]) if len(limits) == 3 else (0, 0, 0),
        pressed=memory.pressed(small_files.text(f"{_NET}/protocols")),
        orphans=totals.get("orphan", 0),
        most_orphans=int(most) if most.isdigit() else 0,
        minisockets=totals.get("tw", 0),
        slabs=memory.slabs(small_files.text("/proc/slabinfo"), mmap.PAGESIZE),
        machine=machine(),
        cgroup_limit=limit,
        cgroup_used=used,
    )


def machine() -> dict[str, int]:
    """/proc/meminfo in bytes, by name."""
    return memory.meminfo(small_files.text("/proc/meminfo"))


def _cgroup() -> tuple[int | None, int | None]:
    """The limit and the use of the calling process's own cgroup, in bytes; None without a limit."""
    for line in small_files.text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            root = "/sys/fs/cgroup" if controllers == "" else "/sys/fs/cgroup/memory"
            files = ("memory.max", "memory.current") if controllers == "" else _OLD
            limit, used = (small_files.text(f"{root}{path}/{name}") for name in files)
            if limit.isdigit() and used.isdigit() and int(limit) < _NO_LIMIT:
                return int(limit), int(used)
    return None, None
