"""From the inode of a listener to the processes that hold it, with their systemd unit and container."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Set
from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.core.sample import Process
from halfopen.core.units import printable
from halfopen.linux import proc, small_files
from halfopen.read.containers import container_name

_CONTAINER_ID: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_LXC: Final = re.compile(r"/lxc(?:\.payload)?[./]([^/]+)")


# Time limits of a search by /proc and by eBPF. A search that is not complete by then is stopped, and the output says
# so; one by eBPF nearly always is.
BUDGET_S: Final = 0.5
_BPF_BUDGET: Final = 4
# On most machines, /proc is searched completely in less time than loading an eBPF program takes.
_AT_FIRST_S: Final = 0.02
# A program opens its listeners before it serves clients, so their descriptors have low numbers.
_LIKELY: Final = 64


class Holders(Struct):
    """The holders of sockets: inode → [(pid, descriptor)], lowest pid first. refused: processes that could not be
    examined. broken_off: time ran out, so other processes may hold the sockets as well.
    """

    by_inode: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    refused: int = 0
    broken_off: bool = False


def holders(inodes: Iterable[int], *, budget_s: float | None = None) -> Holders:
    """Find the holders of listening sockets among the open files of every process, within a time limit.

    By /proc if that is quick, otherwise by eBPF; where eBPF may not be used, by /proc for `budget_s` (BUDGET_S). /proc
    takes forty times as long for each descriptor.
    """
    wanted = {inode for inode in inodes if inode}
    if not wanted:
        return Holders()
    begun = time.monotonic()
    budget_s = BUDGET_S if budget_s is None else budget_s
    found = Holders(broken_off=True)
    if not proc.has_open_files(proc.MANY_FILES):
        found = by_proc(wanted, begun + min(_AT_FIRST_S, budget_s))
    if not found.broken_off and not (found.refused and wanted - found.by_inode.keys()):
        return found
    # The eBPF program reports PIDs of this process's own PID namespace: useless if /proc is that of another one.
    if proc.numbers_as_we_do():
        try:
            return by_bpf(wanted, begun + budget_s * _BPF_BUDGET)
        except HalfopenError:
            pass  # make do with what /proc shows
    return by_proc(wanted, begun + budget_s) if found.broken_off else found


def by_bpf(wanted: Set[int], until_s: float) -> Holders:
    """`holders` by the eBPF program. Raises: Unsupported, NotPermitted, KernelError."""
    from halfopen.read.bpf import programs

    rows, whole = programs.owners().read(until_s)
    found = Holders(broken_off=not whole)
    pairs: dict[int, dict[int, int]] = {}
    for inode, pid, descriptor in rows.tolist():
        if inode in wanted:
            pairs.setdefault(inode, {}).setdefault(pid, descriptor)
    found.by_inode = _in_order(pairs)
    return found


def namespace_files() -> list[tuple[int, int, int]] | None:
    """Every open descriptor of a namespace (of any kind), as inode, pid and descriptor; None if eBPF cannot be used."""
    from halfopen.read.bpf import programs

    if not proc.numbers_as_we_do():
        return None
    try:
        rows, whole = programs.owners().read(time.monotonic() + BUDGET_S * _BPF_BUDGET, namespaces=True)
    except HalfopenError:
        return None
    return rows.tolist() if whole else None


def _in_order(pairs: dict[int, dict[int, int]]) -> dict[int, list[tuple[int, int]]]:
    return {inode: sorted(held.items()) for inode, held in pairs.items()}


def by_proc(wanted: Set[int], until_s: float) -> Holders:
    """`holders` by the links in /proc/PID/fd: the low descriptors of every process first, then all others."""
    names = {f"socket:[{inode}]": inode for inode in wanted}
    found = Holders()
    pairs: dict[int, dict[int, int]] = {}
    left: list[int] = []
    for skip, members in ((0, proc.pids()), (_LIKELY, left)):
        for pid in members:
            if time.monotonic() > until_s:
                found.broken_off = True
                break
            try:
                if _look(pid, skip, names, pairs, until_s):
                    left.append(pid)
            except PermissionError:  # in a user namespace, descriptors can be listed but not read
                found.refused += 1
            except TimeoutError:
                found.broken_off = True
            except OSError:  # the process has ended
                continue
    found.by_inode = _in_order(pairs)
    return found


def _look(pid: int, skip: int, names: dict[str, int], pairs: dict[int, dict[int, int]], until_s: float) -> bool:
    """Look at the low descriptors of a process, or at all but the first `skip`.

    Returns whether there are more. Raises: OSError; TimeoutError when time is up.
    """
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        for n, descriptor in enumerate(descriptors):
            if n < skip:
                continue
            if not skip and n >= _LIKELY:
                return True
            if n % _LIKELY == 0 and time.monotonic() > until_s:
                raise TimeoutError
            try:
                inode = names.get(os.readlink(descriptor.path))
            except FileNotFoundError:
                continue
            if inode is not None:
                pairs.setdefault(inode, {}).setdefault(pid, int(descriptor.name))
    return False


def unit_and_container(cgroup: str) -> tuple[str | None, str | None]:
    """The systemd unit and the container id (12 characters, or an LXC name) in the text of /proc/PID/cgroup."""
    container = _CONTAINER_ID.search(cgroup)
    lxc = _LXC.search(cgroup)
    unit = None
    for line in cgroup.splitlines():
        for part in line.rpartition(":")[2].split("/"):
            if part.endswith(".service") or (part.endswith(".scope") and part != "init.scope"):
                unit = part
    return unit, container[1][:12] if container else (lxc[1] if lxc else None)


def process(pid: int) -> Process | None:
    """The name, unit and container of a process; None if it has ended."""
    name = proc.name(pid)
    if name is None:
        return None
    cgroup = small_files.text(f"/proc/{pid}/cgroup")
    unit, container = unit_and_container(cgroup)
    whole = _CONTAINER_ID.search(cgroup)
    called = container_name(whole[1]) if whole else ""
    # A process may call itself anything, escape sequences included.
    return Process(pid, printable(name), unit and printable(unit), container and printable(container), called or None)


def owners(found: Holders) -> dict[int, tuple[Process, ...]]:
    """The processes that hold each inode of `found`, without those that have ended since."""
    known = {pid: process(pid) for held in found.by_inode.values() for pid, _ in held}
    return {
        inode: tuple(p for pid, _ in held if (p := known[pid]) is not None) for inode, held in found.by_inode.items()
    }
