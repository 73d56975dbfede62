"""Network namespaces that have no known name and no process: a bind mount or a descriptor holds them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, field

from halfopen.linux import proc
from halfopen.linux.mounts import mounts
from halfopen.read.owners import namespace_files

# A machine may have a million descriptors, and looking at each takes some 10 us: search for this long at most, and in a
# process that searches repeatedly for at most this share of the time.
_BUDGET_S: Final = 0.3
_SHARE: Final = 0.05
# If the search through /proc takes longer than this, eBPF is quicker, where it may be used.
_AT_FIRST_S: Final = 0.02
_NET: Final = re.compile(r"net:\[(\d+)\]")


class Holdings(Struct, frozen=True):
    """The paths that hold namespaces: inode → a path that opens it. passed_over: processes there was no time for."""

    by_inode: dict[int, str] = field(default_factory=dict)
    passed_over: int = 0

    def still(self) -> Holdings:
        """The entries whose path still leads to the same namespace."""
        there = {inode: path for inode, path in self.by_inode.items() if _inode(path) == inode}
        return Holdings(there, self.passed_over)


_found = Holdings()
_again_at = 0.0


def held(pids: Iterable[int], budget_s: float = _BUDGET_S) -> Holdings:
    """The namespaces that bind mounts and descriptors of these processes hold.

    A search is repeated only when it takes less than 5 % of the time; until then its results are checked and reused.
    """
    global _found, _again_at
    began = time.monotonic()
    if began < _again_at:
        return _found.still()
    until_s = began + budget_s
    found = dict(held_by_mounts(pids, until_s))
    ours, left = held_by_descriptors(pids, min(until_s, time.monotonic() + _AT_FIRST_S))
    if left:
        told = _told_by_bpf()
        ours, left = (told, 0) if told is not None else held_by_descriptors(pids, until_s)
    for inode, path in ours.items():
        found.setdefault(inode, path)
    _found = Holdings(found, left)
    now = time.monotonic()
    _again_at = now + (now - began) * (1 / _SHARE - 1)
    return _found


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError):
        return None


def held_by_mounts(pids: Iterable[int], until_s: float) -> Iterator[tuple[int, str]]:
    """Namespaces that are bind-mounted outside the usual directories, as some tools do: (inode, path)."""
    seen: set[str] = set()
    for pid in (os.getpid(), *pids):
        if time.monotonic() > until_s:
            return
        try:
            space = os.readlink(f"/proc/{pid}/ns/mnt")
            if space in seen:
                continue
            seen.add(space)
            mounted = [mount for mount in mounts(f"/proc/{pid}/mountinfo") if mount.kind == "nsfs"]
        except OSError:
            continue
        for mount in mounted:
            net = _NET.fullmatch(mount.root)
            if net:
                yield int(net[1]), mount.point if pid == os.getpid() else f"/proc/{pid}/root{mount.point}"


def held_by_descriptors(pids: Iterable[int], until_s: float) -> tuple[dict[int, str], int]:
    """Namespaces that descriptors of these processes hold: inode → path; and how many processes there was no time for.
    Processes with few descriptors come first, if the kernel shows their number.
    """
    found: dict[int, str] = {}
    mine = sorted((size, pid) for pid in pids if (size := proc.open_files(pid)) is not None)
    for at, (_, pid) in enumerate(mine):
        if time.monotonic() > until_s or not _look_into(pid, until_s, found):
            return found, len(mine) - at
    return found, 0


def _told_by_bpf() -> dict[int, str] | None:
    """The same for all processes; None if eBPF cannot be used."""
    files = namespace_files()
    if files is None:
        return None
    found: dict[int, str] = {}
    for inode, pid, descriptor in files:
        path = f"/proc/{pid}/fd/{descriptor}"
        try:
            is_net = os.readlink(path) == f"net:[{inode}]"
        except OSError:
            continue
        if is_net:
            found.setdefault(inode, path)
    return found


def _look_into(pid: int, until_s: float, found: dict[int, str]) -> bool:
    """Look at all descriptors of a process. Returns whether there was time for all."""
    try:
        directory = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        for i, name in enumerate(os.listdir(directory)):
            if i % 256 == 255 and time.monotonic() > until_s:
                return False
            try:
                link = os.readlink(name, dir_fd=directory)
            except OSError:
                continue
            net = _NET.fullmatch(link) if link.startswith("net:[") else None
            if net:
                found.setdefault(int(net[1]), f"/proc/{pid}/fd/{name}")
    except OSError:
        pass
    finally:
        os.close(directory)
    return True
