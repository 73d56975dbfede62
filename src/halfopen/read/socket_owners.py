"""From the inodes of many sockets to the processes that hold them."""

from __future__ import annotations

import os
import time
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.linux import proc, small_files
from halfopen.read import owners
from halfopen.read.bpf import programs

# A million descriptors take half a second by eBPF, and forty times as long by /proc.
BUDGET_S: Final = 3.0
_PROC_BUDGET_S: Final = 1.0
# A look-up table by inode is used if the range of inodes is at most this many times the number of descriptors, plus
# this many: it then takes 32 bytes for each descriptor, and 4 MB.
_SPREAD: Final = 8
_TABLE: Final = 1 << 20


class SocketOwners(Struct):
    """The owners of N sockets. pids (N,): the lowest PID that holds each, 0: none was found. descriptors (N,): the
    number of its descriptor there. whole: all processes were examined. refused: how many could not be examined. took_s:
    how long that took. beside: the processes that hold each of the sockets `beside` of the request, by
    inode.
    """

    pids: NDArray[np.uint32]
    descriptors: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, dtype=np.uint32))
    whole: bool = True
    refused: int = 0
    took_s: float = 0.0
    beside: dict[int, set[int]] = field(default_factory=dict)


def of(
    inodes: NDArray[Any], states: int, budget_s: float = BUDGET_S, beside: NDArray[Any] | None = None
) -> SocketOwners:
    """The owners of N sockets by their inodes, (N,) u4; inode 0 has no owner. states: the states of the sockets, one
    bit each. beside: inodes of other sockets, (K,), to find all processes that hold them. By eBPF if it may be used,
    otherwise by /proc; for at most `budget_s`.
    """
    begun = time.monotonic()
    # Copied: the column is read several times, and each time in steps of a row would miss the cache.
    inodes = np.ascontiguousarray(inodes)
    found = SocketOwners(np.zeros(len(inodes), dtype=np.uint32), np.zeros(len(inodes), dtype=np.uint32))
    wanted = inodes[inodes != 0]
    if not len(wanted):
        return found
    if beside is not None:
        wanted = np.concatenate((wanted, beside[beside != 0].astype(wanted.dtype)))
    rows, found.whole, found.refused = _holders(wanted, states, begun, budget_s)
    if len(rows):
        if beside is not None:
            for inode, pid in rows[["inode", "pid"]][np.isin(rows["inode"], beside[beside != 0])].tolist():
                found.beside.setdefault(inode, set()).add(pid)
        at = places(rows, inodes)
        held = at >= 0
        for column, name in ((found.pids, "pid"), (found.descriptors, "fd")):
            np.copyto(column, rows[name][at], where=held)
    found.took_s = time.monotonic() - begun
    return found


def places(rows: NDArray[Any], inodes: NDArray[Any]) -> NDArray[Any]:
    """The index among n descriptors, (n,) HOLDER, of each of N sockets by inode, (N,); -1: not found, or inode 0. If
    several processes hold a socket, as after a fork, that with the lowest PID.
    """
    held, order = rows["inode"], None
    # The kernel's iterator visits processes in this order already.
    if (rows["pid"][1:] < rows["pid"][:-1]).any():
        order = np.argsort(rows["pid"], kind="stable")
        held = held[order]
    at = _first_places(held, inodes)
    return at if order is None else np.where(at >= 0, order[at], -1)


def _first_places(held: NDArray[Any], inodes: NDArray[Any]) -> NDArray[Any]:
    """The first index among n inodes of each of N, (N,); -1: not found, or inode 0."""
    low = int(held.min())
    span = int(held.max()) - low + 1
    wanted = inodes.astype(np.int64)
    if span > _SPREAD * len(held) + _TABLE:
        by_inode = np.argsort(held, kind="stable")
        at = by_inode[np.minimum(np.searchsorted(held, wanted, sorter=by_inode), len(held) - 1)]
        return np.where((held[at] == wanted) & (wanted != 0), at, -1)
    # Inodes are numbered consecutively, so a look-up table takes a tenth of the time of sorting. Its last entry stands
    # for all inodes outside its range.
    table = np.full(span + 1, -1, dtype=np.int32)
    table[(held[::-1] - low).astype(np.int64)] = np.arange(len(held) - 1, -1, -1, dtype=np.int32)
    wanted -= low
    wanted[(wanted < 0) | (wanted >= span) | (inodes == 0)] = span
    found: NDArray[Any] = table[wanted]
    return found


def _holders(wanted: NDArray[Any], states: int, begun: float, budget_s: float) -> tuple[NDArray[Any], bool, int]:
    """Descriptors of sockets, (n,) HOLDER, with at least the wanted ones; whether every process was examined; and how
    many could not be.
    """
    # The eBPF program reports PIDs of this process's own PID namespace: useless if /proc is that of another one.
    if proc.numbers_as_we_do():
        try:
            return *programs.owners().read(begun + budget_s, states=None, room=len(wanted)), 0
        except HalfopenError:
            pass  # make do with what /proc shows
    from halfopen.wire.bpf_records import HOLDER

    found = owners.by_proc(set(wanted.tolist()), begun + min(budget_s, _PROC_BUDGET_S))
    pairs = [(inode, pid, fd) for inode, held in found.by_inode.items() for pid, fd in held]
    return np.array(pairs, dtype=HOLDER), not (found.broken_off or found.refused), found.refused


def files_of(pid: int) -> tuple[int, int] | None:
    """How many descriptors a process has open, and how many it may have; None where that is not shown."""
    limit = proc.open_files_limit(small_files.text(f"/proc/{pid}/limits"))
    if limit is None:
        return None
    try:
        return proc.open_files(pid) or len(os.listdir(f"/proc/{pid}/fd")), limit
    except OSError:
        return None
