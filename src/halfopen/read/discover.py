"""Every network namespace of the machine, found through /proc, the directories that name them, and what holds them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable

from msgspec import Struct, field

from halfopen.linux.netns import NAMED_DIRS, SELF, Netns
from halfopen.linux.proc import pids
from halfopen.read.holding import held
from halfopen.read.owners import process


class Discovered(Struct):
    """The namespaces found, this process's own first. refused: processes that could not be examined. passed_over:
    processes whose descriptors there was no time to search for namespaces.
    """

    namespaces: list[Netns] = field(default_factory=list)
    refused: int = 0
    passed_over: int = 0


def _inhabitant(members: list[int]) -> str:
    for pid in members:
        found = process(pid)
        if found is not None:
            return f"{found.name} ({found.inside})" if found.inside else found.name
    return ""


def _named() -> dict[int, tuple[str, str]]:
    """Inode → (name, path) of every named namespace; the first directory wins."""
    names: dict[int, tuple[str, str]] = {}
    nsfs = os.stat(SELF).st_dev
    for directory in NAMED_DIRS:
        try:
            entries = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in entries:
            path = f"{directory}/{name}"
            try:
                facts = os.stat(path)
            except OSError:
                continue
            # `ip netns add` creates a plain file, then mounts the namespace on it; `delete` unmounts before it unlinks.
            if facts.st_dev == nsfs:
                names.setdefault(facts.st_ino, (name, path))
    return names


def _members(asked: Iterable[int], until_s: float = math.inf) -> tuple[dict[int, list[int]], int]:
    """Inode of a namespace → its processes, ascending, until time is up; and how many could not be examined."""
    members: dict[int, list[int]] = {}
    refused = 0
    for pid in asked:
        if time.monotonic() > until_s:
            break
        try:
            link = os.readlink(f"/proc/{pid}/ns/net")
        except PermissionError:
            refused += 1
            continue
        except OSError:
            continue
        members.setdefault(int(link[5:-1]), []).append(pid)
    return members, refused


def inhabited(until_s: float) -> list[Netns]:
    """The namespaces with a name or a process that are found before `until_s` (monotonic); `lives_in` is not filled."""
    named = _named()
    found = [Netns(name, inode, path) for inode, (name, path) in named.items()]
    members, _ = _members(pids(), until_s)
    for inode, living in members.items():
        if inode not in named:
            found.append(Netns(f"pid:{living[0]}", inode, f"/proc/{living[0]}/ns/net"))
    return found


def inhabitant_of(ns: Netns) -> str:
    """The process in a namespace named pid:N, with its unit or container; empty for other names."""
    pid = ns.name.removeprefix("pid:")
    return _inhabitant([int(pid)]) if pid.isdigit() and pid != ns.name else ""


def discover() -> Discovered:
    """Find every network namespace. Each is called by its name if it has one, else pid:N after its first process, else
    by the path of the bind mount or descriptor that holds it.

    `Netns.name` is what `--netns` takes; `Netns.lives_in` says who lives there.
    """
    found = Discovered()
    asked = pids()
    members, found.refused = _members(asked)
    own = os.stat(SELF).st_ino
    named = _named()
    found.namespaces.append(Netns("self", own, SELF, _inhabitant(members.get(own, []))))
    for inode in sorted(named.keys() | members.keys(), key=lambda i: (i not in named, members.get(i, [0])[0])):
        if inode == own:
            continue
        living = members.get(inode, [])
        name, path = named.get(inode) or (f"pid:{living[0]}", f"/proc/{living[0]}/ns/net")
        found.namespaces.append(Netns(name, inode, path, _inhabitant(living)))
    holdings = held(asked)
    found.passed_over = holdings.passed_over
    for inode in sorted(holdings.by_inode.keys() - named.keys() - members.keys() - {own}):
        path = holdings.by_inode[inode]
        found.namespaces.append(Netns(path, inode, path))
    return found
