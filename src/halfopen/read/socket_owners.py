"""From the inodes of sockets to the processes that hold them, for many sockets at a time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.linux import proc, small_files
from halfopen.read import owners
from halfopen.read.bpf import programs

# A million descriptors take half a second by eBPF; by /proc, forty times as long.
BUDGET_S: Final = 3.0
_PROC_BUDGET_S: Final = 1.0


@dataclass(slots=True)
class SocketOwners:
    """Of N sockets: pids (N,) the process with the lowest number that holds each, 0 where none was found, and
    descriptors (N,) the number it has there. whole: all processes were looked at. took_s: how long that took.
    """

    pids: NDArray[np.uint32]
    descriptors: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, dtype=np.uint32))
    whole: bool = True
    took_s: float = 0.0


def of(inodes: NDArray[Any], states: int, budget_s: float = BUDGET_S) -> SocketOwners:
    """The owners of N sockets by their inodes, (N,) u4; 0 is nobody's. states: those that the sockets are in, a bit
    each. By eBPF where that may be used, else by /proc, for `budget_s` at most.
    """
    begun = time.monotonic()
    found = SocketOwners(np.zeros(len(inodes), dtype=np.uint32), np.zeros(len(inodes), dtype=np.uint32))
    wanted = inodes[inodes != 0]
    if not len(wanted):
        return found
    rows, found.whole = _holders(wanted, states, begun, budget_s)
    if len(rows):
        # Of several processes that hold a socket, as after a fork, the one with the lowest number.
        rows = rows[np.lexsort((rows["pid"], rows["inode"]))]
        at = np.minimum(np.searchsorted(rows["inode"], inodes), len(rows) - 1)
        held = (rows["inode"][at] == inodes) & (inodes != 0)
        found.pids[held], found.descriptors[held] = rows["pid"][at][held], rows["fd"][at][held]
    found.took_s = time.monotonic() - begun
    return found


def _holders(wanted: NDArray[Any], states: int, begun: float, budget_s: float) -> tuple[NDArray[Any], bool]:
    """Descriptors of sockets, (n,) HOLDER, among them all of the wanted ones; and whether every process was seen."""
    # The eBPF program tells processes by their numbers in this process's own PID namespace.
    if proc.numbers_as_we_do():
        try:
            return programs.owners().read(begun + budget_s, states=states)
        except HalfopenError:
            pass  # what /proc shows will have to do
    from halfopen.wire.bpf_records import HOLDER

    found = owners.by_proc(set(wanted.tolist()), begun + min(budget_s, _PROC_BUDGET_S))
    pairs = [(inode, pid, fd) for inode, held in found.by_inode.items() for pid, fd in held]
    return np.array(pairs, dtype=HOLDER), not (found.broken_off or found.refused)


def open_files(pid: int) -> tuple[int, int] | None:
    """How many descriptors a process has open, and how many it may have; None where that is not shown."""
    limits = small_files.text(f"/proc/{pid}/limits")
    line = next((line for line in limits.splitlines() if line.startswith("Max open files")), "")
    words = line.split()
    if len(words) < 5 or not words[3].isdigit():
        return None
    try:
        # Since commit f1f1f2569901 ("proc: report open files as size in stat() for /proc/pid/fd") (in v6.2).
        count = os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return count, int(words[3])
