"""The guards of this machine for `protect status`, with the names of their namespaces."""

from __future__ import annotations

import time

from msgspec import Struct

from halfopen.core.errors import HalfopenError
from halfopen.core.sample.guard import GuardCounts
from halfopen.linux import proc
from halfopen.linux.netns import current
from halfopen.read.discover import discover
from halfopen.read.guards import guards


class ShownGuard(Struct, frozen=True):
    """A guard: its namespace by name and inode, the process that holds it, its age, the number of its devices, whether
    it answers, from which share of a SYN queue, its counts, whether a policy armed it, and its rung.
    """

    netns: str
    netns_inode: int
    pid: int | None
    process: str | None
    seconds: float
    devices: int
    answers: bool
    share: float
    counts: GuardCounts
    by_policy: bool
    rung: str


def shown() -> list[ShownGuard]:
    """Every guard. Raises: NotPermitted without CAP_SYS_ADMIN, Unsupported, KernelError."""
    found = guards()
    names = _names({one.netns_inode for one in found})
    now = time.monotonic()
    return [
        ShownGuard(
            netns=names.get(one.netns_inode, f"net:[{one.netns_inode}]"),
            netns_inode=one.netns_inode,
            pid=one.pid,
            process=None if one.pid is None else proc.name(one.pid),
            seconds=now - one.began_s,
            devices=len(one.devices),
            answers=one.answers,
            share=one.share,
            counts=one.counts,
            by_policy=one.by_policy,
            rung=one.rung,
        )
        for one in found
    ]


def _names(inodes: set[int]) -> dict[int, str]:
    own = current().inode
    names = {own: "self"} if own in inodes else {}
    if inodes - names.keys():
        try:
            names = {ns.inode: ns.name for ns in discover().namespaces if ns.inode in inodes} | names
        except HalfopenError:
            pass
    return names
