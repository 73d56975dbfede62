"""The guards of this machine, whoever armed them, found by their programs; and ending one in order.

Nothing is written down anywhere for that: a link belongs to the process that holds its descriptor, and root may ask
that process to end, as Ctrl-C does.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from typing import Any, Final

from halfopen.change.guard import OBJECT, PROGRAM, counts_of
from halfopen.core.errors import CannotGuard, HalfopenError, NotPermitted
from halfopen.core.policy.actions import Unprotect, Unprotected
from halfopen.core.sample.guard import ANSWERS, COUNTS, SETTINGS, GuardCounts
from halfopen.linux import proc, small_files
from halfopen.linux.bpf import libbpf, maps, tcx

_DATA: Final = f"{OBJECT}.data"
_LINK: Final = "anon_inode:bpf_link"
_ENDS_WITHIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class FoundGuard:
    """A guard: the process that holds it (None: not found), the inode of its namespace, the devices it is on by their
    numbers, since when (CLOCK_MONOTONIC), whether it answers, at which share of a queue, and what it counted."""

    pid: int | None
    netns_inode: int
    devices: tuple[int, ...]
    links: tuple[int, ...]
    began_s: float
    answers: bool
    share: float
    counts: GuardCounts


def guards(*, holders: bool = True) -> list[FoundGuard]:
    """Every guard of this machine. holders: look for the processes, which takes long where there are many.

    Raises: NotPermitted without CAP_SYS_ADMIN, Unsupported, KernelError.
    """
    by_program: dict[int, list[tcx.TcxLink]] = {}
    for link in tcx.links(PROGRAM):
        # One guard may have both of its programs attached; they share their maps.
        by_program.setdefault(dict(link.maps).get("counts", -link.program_id), []).append(link)
    pids = _holders({link.id for links in by_program.values() for link in links}) if holders and by_program else {}
    found = []
    for links in by_program.values():
        try:
            found.append(_read(links, pids))
        except HalfopenError:
            continue  # it went meanwhile
    return found


def guards_in(inode: int) -> list[FoundGuard]:
    """Those of one namespace; none where they cannot be seen."""
    try:
        return [one for one in guards() if one.netns_inode == inode]
    except HalfopenError:
        return []


def _read(links: list[tcx.TcxLink], pids: dict[int, int]) -> FoundGuard:
    by_name = dict(links[0].maps)
    settings = _settings(by_name[_DATA])
    fd = tcx.open_map(by_name["counts"], COUNTS.itemsize)
    try:
        counts = counts_of(fd, libbpf.library().libbpf_num_possible_cpus())
    finally:
        os.close(fd)
    return FoundGuard(
        pid=next((pids[link.id] for link in links if link.id in pids), None),
        netns_inode=int(settings["netns"]),
        devices=tuple(sorted(link.ifindex for link in links)),
        links=tuple(link.id for link in links),
        began_s=int(settings["began"]) / 1e9,
        answers=int(settings["mode"]) == ANSWERS and time.monotonic_ns() < int(settings["until"]),
        share=int(settings["share"]) / 256,
        counts=counts,
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
        for link in _links_of(pid):
            if link in links:
                found[link] = pid
    return found


def _links_of(pid: int) -> list[int]:
    directory, found = f"/proc/{pid}/fd", []
    try:
        for name in os.listdir(directory):
            if os.readlink(f"{directory}/{name}") == _LINK:
                text = small_files.text(f"/proc/{pid}/fdinfo/{name}")
                found += [int(line.split()[1]) for line in text.splitlines() if line.startswith("link_id:")]
    except (OSError, ValueError, IndexError):  # it ended, or is not ours to look at
        pass
    return found


def end(guard: FoundGuard) -> None:
    """Ask the process that holds a guard to end it in order, and wait until it is off.

    Raises: CannotGuard where there is no such process or it does not end it, NotPermitted.
    """
    if guard.pid is None:
        raise CannotGuard("the process that holds this guard was not found", hint="run as root, on the host itself")
    try:
        process = os.pidfd_open(guard.pid)
    except OSError:
        return  # it ended by itself
    try:
        # The number may belong to another process by now; behind the descriptor it cannot change any more.
        if not set(_links_of(guard.pid)) & set(guard.links):
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while time.monotonic() < deadline:
            if not {link.id for link in tcx.links(PROGRAM)} & set(guard.links):
                return
            select.select([process], [], [], 0.1)
    except PermissionError:
        raise NotPermitted("ending the process that holds this guard is refused", hint="run as root (sudo)") from None
    finally:
        os.close(process)
    raise CannotGuard(
        f"process {guard.pid} still holds its guard after {_ENDS_WITHIN_S:g} s",
        hint=f"kill -9 {guard.pid} takes it off at once, and resets clients that are just connecting",
    )


def off(action: Unprotect) -> Unprotected:
    """End the guards that an Unprotect means. Raises: CannotGuard where there is none or one goes on, NotPermitted,
    Unsupported, KernelError.
    """
    meant = [one for one in guards() if action.inode in (None, one.netns_inode)]
    if not meant:
        raise CannotGuard("no guard is armed here", hint="halfopen protect status shows those of this machine")
    pids, problems = [], []
    for one in meant:
        try:
            end(one)
        except HalfopenError as e:
            if len(meant) == 1:
                raise
            problems.append(e.line())
        else:
            pids += [] if one.pid is None else [one.pid]
    return Unprotected(action, tuple(pids), tuple(problems))
