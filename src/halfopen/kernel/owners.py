"""From a listener's inode to the processes that hold it, the systemd unit and the container they live in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from halfopen.core.sample import Process
from halfopen.core.units import printable

_CONTAINER_ID: Final = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_LXC: Final = re.compile(r"/lxc(?:\.payload)?[./]([^/]+)")


@dataclass(slots=True)
class Holders:
    """Who holds which socket: inode → [(pid, descriptor)], lowest pid first; `refused` processes could not be looked
    into.
    """

    by_inode: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    refused: int = 0


def pids() -> list[int]:
    """The processes there are, in order."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def holders(inodes: Iterable[int]) -> Holders:
    """Find the holders of socket inodes by looking through the descriptors of every process."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
    found = Holders()
    if not wanted:
        return found
    for pid in pids():
        directory = f"/proc/{pid}/fd"
        try:
            descriptors = os.listdir(directory)
        except PermissionError:
            found.refused += 1
            continue
        except OSError:  # the process ended meanwhile
            continue
        for descriptor in descriptors:
            try:
                inode = wanted.get(os.readlink(f"{directory}/{descriptor}"))
            except PermissionError:  # in a user namespace: the names may be listed, and no more
                found.refused += 1
                break
            except OSError:
                continue
            if inode is not None:
                held = found.by_inode.setdefault(inode, [])
                if not held or held[-1][0] != pid:
                    held.append((pid, int(descriptor)))
    return found


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
    """What is known of a process; None when it ended."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as f:
            # Every process chooses its own name, escape sequences included.
            name = printable(f.read().removesuffix("\n"))
    except OSError:
        return None
    try:
        with open(f"/proc/{pid}/cgroup", errors="replace") as f:
            unit, container = unit_and_container(f.read())
    except OSError:
        unit, container = None, None
    return Process(pid, name, unit and printable(unit), container and printable(container))


def owners(found: Holders) -> dict[int, tuple[Process, ...]]:
    """The processes behind each inode of `found`; those that ended meanwhile are left out."""
    known = {pid: process(pid) for held in found.by_inode.values() for pid, _ in held}
    return {
        inode: tuple(p for pid, _ in held if (p := known[pid]) is not None) for inode, held in found.by_inode.items()
    }
