"""The guards of this machine, found by their eBPF programs, and whether one could be armed here."""

from __future__ import annotations

import math
import os
import time
from functools import lru_cache
from typing import Any, Final

from halfopen.core.errors import HalfopenError
from halfopen.core.sample.guard import ANSWERS, COUNTS, PROGRAM, RUNGS, SETTINGS, FoundGuard, Guards
from halfopen.linux import proc, small_files
from halfopen.linux.bpf import libbpf, loader, maps, tcx
from halfopen.linux.bpf.guard_counts import counts_of
from halfopen.read.probe import Draft, Probe

_DATA: Final = ".data"
_LINK: Final = "anon_inode:bpf_link"
_KFUNC: Final = "bpf_sk_assign_tcp_reqsk"
# Listing the eBPF links of the machine takes a fifth of a millisecond, or more if there are many.
_LOOK_S: Final = 2.0
_LOOK_SOON_S: Final = 0.1
_NO_GUARDS: Final = Guards((), None)
_NEEDS: Final = ("CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN")


def probe(*, wanted: bool = False) -> Probe:
    """The probe of the guards in the namespace of the reading. wanted: also whether one could be armed, and what
    the guards had counted when this function was called.
    """
    earlier = _guards_or_none() if wanted else []

    def looked(_: Draft) -> Guards:
        inode = os.stat("/proc/thread-self/ns/net").st_ino
        found, before = tuple(guards_in(inode)), tuple(one for one in earlier if one.netns_inode == inode)
        return Guards(found, possible() if wanted else None, before)

    return Probe("guards", ("CAP_SYS_ADMIN",), looked)


class GuardsSeen:
    """The guards of this machine, for a process that reads repeatedly. While it finds none, it looks again only now and
    then: sooner if requests wait in a SYN queue, because somebody may arm a guard against their flood.
    """

    def __init__(self) -> None:
        self._found: list[FoundGuard] = []
        self._looked_s = -math.inf

    def probe(self) -> Probe:
        """As the function `probe`."""
        return Probe("guards", ("CAP_SYS_ADMIN",), self._looked)

    def _looked(self, draft: Draft) -> Guards:
        now = time.monotonic()
        waits = draft.queues is None or bool(draft.queues["qlen"].any())
        if self._found or now - self._looked_s >= (_LOOK_SOON_S if waits else _LOOK_S):
            try:
                self._found = guards(holders=False)
            except HalfopenError:
                self._found = []
            self._looked_s = now
        if not self._found:
            return _NO_GUARDS
        inode = os.stat("/proc/thread-self/ns/net").st_ino
        return Guards(tuple(one for one in self._found if one.netns_inode == inode), None)


def possible() -> bool | None:
    """Whether this kernel and the privileges of this process allow a guard, as far as can be told without a trial. None
    if that could not be determined: the next call asks again.
    """
    # Capabilities in a user namespace do not allow to load programs.
    if (elsewhere := proc.in_user_namespace()) or proc.lacking(_NEEDS):
        return False
    try:
        return None if elsewhere is None else _kernel_can()
    except HalfopenError:
        return None


# Cached: reading the kernel's BTF means reading megabytes.
@lru_cache(maxsize=1)
def _kernel_can() -> bool:
    return loader.kernel_has_function(_KFUNC)


def guards(*, holders: bool = True) -> list[FoundGuard]:
    """Every guard of this machine. holders: also find the process of each, which is slow with many processes.

    Raises: NotPermitted without CAP_SYS_ADMIN, Unsupported, KernelError.
    """
    by_program: dict[int, list[tcx.TcxLink]] = {}
    for link in tcx.links(PROGRAM):
        # A guard may have two programs attached, which share their maps.
        by_program.setdefault(dict(link.maps).get("counts", -link.program_id), []).append(link)
    pids = _holders({link.id for links in by_program.values() for link in links}) if holders and by_program else {}
    found = []
    for links in by_program.values():
        try:
            found.append(_read(links, pids))
        except HalfopenError:
            continue  # the guard has just ended
    return found


def guards_in(inode: int, *, holders: bool = False) -> list[FoundGuard]:
    """The guards of one namespace; empty if they cannot be read. holders: as for `guards`."""
    return [one for one in _guards_or_none(holders=holders) if one.netns_inode == inode]


def _guards_or_none(*, holders: bool = False) -> list[FoundGuard]:
    try:
        return guards(holders=holders)
    except HalfopenError:
        return []


def _read(links: list[tcx.TcxLink], pids: dict[int, int]) -> FoundGuard:
    by_name = dict(links[0].maps)
    # libbpf names the map of a section after the object (truncated) and the section.
    settings = _settings(next(id for name, id in by_name.items() if name.endswith(_DATA)))
    fd = tcx.open_map(by_name["counts"], COUNTS.itemsize)
    try:
        counts = counts_of(fd, libbpf.library().libbpf_num_possible_cpus())
    finally:
        os.close(fd)
    return FoundGuard(
        pid=next((pids[link.id] for link in links if link.id in pids), None),
        netns_inode=int(settings["netns"]),
        devices=tuple(sorted({link.ifindex for link in links})),
        links=tuple(link.id for link in links),
        began_s=int(settings["began"]) / 1e9,
        answers=int(settings["mode"]) == ANSWERS and time.monotonic_ns() < int(settings["until"]),
        share=int(settings["share"]) / 256,
        counts=counts,
        by_policy=bool(settings["by_policy"]),
        rung=RUNGS[min(int(settings["rung"]), len(RUNGS) - 1)],
    )


def _settings(id: int) -> Any:
    fd = tcx.open_map(id, SETTINGS.itemsize)
    try:
        return maps.get(fd, bytes(4), SETTINGS, what="the guard's settings")[0]
    finally:
        os.close(fd)


def _holders(links: set[int]) -> dict[int, int]:
    """Link → the process that has a descriptor of it."""
    found: dict[int, int] = {}
    for pid in proc.pids():
        if len(found) == len(links):
            break
        for link in links_of(pid):
            if link in links:
                found[link] = pid
    return found


def links_of(pid: int) -> list[int]:
    """The ids of the eBPF links that a process holds; empty if its descriptors are hidden."""
    directory, found = f"/proc/{pid}/fd", []
    try:
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}") == _LINK:
                text = small_files.text(f"/proc/{pid}/fdinfo/{name}")
                found += [int(line.split()[1]) for line in text.splitlines() if line.startswith("link_id:")]
    except (OSError, ValueError, IndexError):  # it has ended, or we may not look at it
        pass
    return found
