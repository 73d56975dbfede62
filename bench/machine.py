"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PACKAGES: Final = ("numpy", "psutil", "pyroute2")
# /proc/stat counts in hundredths of a second.
_LEAST_FOREIGN_S: Final = 0.03


def describe() -> dict[str, str]:
    """Kernel, processor, cores, memory and the versions of everything measured; what is not there is left out."""
    memory_kib = int(_field("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0)
    found = {
        "kernel": os.uname().release,
        "cpu": _field("/proc/cpuinfo", r"^model name\s*:\s*(.+)$") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    found["iproute2"] = _said(["ss", "-V"], r"iproute2-([^\s,]+)")
    found["net-tools"] = _said(["netstat", "--version"], r"net-tools ([^\s]+)")
    return {name: value for name, value in found.items() if value}


def load() -> float:
    """How many processes wanted a core in the last minute."""
    return os.getloadavg()[0]


class Others:
    """How much processor time others used since this was made: all cores' busy time less what the measured used.

    On a machine shared with others a reading may be slow for no reason of its own; such a one is taken again.
    """

    def __init__(self) -> None:
        self._busy_s = _busy_s()

    def disturbed(self, seconds: float, own_s: float) -> bool:
        """Whether others took more than a quarter of a core in these `seconds`, of which the measured used `own_s`."""
        return _busy_s() - self._busy_s - own_s > max(_LEAST_FOREIGN_S, seconds / 4)


def _busy_s() -> float:
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _field(path: str, pattern: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as f:
        match = re.search(pattern, f.read(), re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def _said(command: list[str], pattern: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except OSError:
        return ""
    match = re.search(pattern, done.stdout + done.stderr)
    return match[1] if match else ""


def real_time_refused() -> str:
    """Why no process of this user may be real-time, or set how a network device spreads its packets; else empty.

    Both ask for capabilities in the first user namespace.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return "real-time processes are refused here"
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return ""
