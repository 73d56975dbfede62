"""Releasing: with the door held if possible, otherwise with a short window between look and destroy."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from halfopen.change import destroy
from halfopen.core.errors import CannotHold, HalfopenError, UnknownTarget, words
from halfopen.core.model.answered import Calm
from halfopen.core.model.clients import KnownClients
from halfopen.core.policy.actions import Release, Released
from halfopen.linux import netns
from halfopen.linux.identity import of_thread
from halfopen.linux.netns import Netns
from halfopen.linux.stopping import StopEvent
from halfopen.ops.release import behind_door, by_netlink, doors
from halfopen.ops.release.counts import ReleaseCounts, Stop
from halfopen.ops.release.meant import Meant, meant_by
from halfopen.read import procfs
from halfopen.read.bpf import programs
from halfopen.read.bpf.census import Census


def _census() -> Census | None:
    try:
        return programs.census()
    except HalfopenError:
        return None


def _cannot_hold() -> str:
    """Why the door cannot be held now; empty if it can."""
    try:
        doors.door()
        return ""
    except HalfopenError as e:
        return e.line()


def _run(meant: Meant, counts: ReleaseCounts, dry_run: bool, stop: Stop, calm: Calm | None) -> None:
    with destroy.open_socket() as kill:
        destroy.probe(kill)
        census, why = _census(), _cannot_hold() if dry_run else ""
        if dry_run:
            if census is not None and not why:
                behind_door.count(census, meant, counts)
            else:
                by_netlink.count(meant, counts, calm)
            counts.left = counts.matched
            if why and counts.matched:
                counts.notes.append(
                    f"the door, which keeps these connections from completing meanwhile, cannot be held here "
                    f"({why}): one "
                    "that completes between the last look and its release may be reset"
                )
            return
        door: doors.AnyDoor | None = None
        try:
            door = doors.door()
        except CannotHold as e:
            counts.notes.append(
                f"the door, which keeps these connections from completing meanwhile, could not be held "
                f"({e.line()}): one "
                "that completed between the last look and its release may have been reset"
            )
        try:
            if census is not None and door is not None:
                behind_door.run(kill, census, door, meant, counts, stop)
            else:
                by_netlink.run(kill, meant, counts, stop, calm, door)
        finally:
            if door is not None:
                door.close()


def may_release() -> None:
    """Check whether a release in the calling thread's namespace would be permitted, without releasing anything.

    Raises: NotPermitted, Unsupported, KernelError.
    """
    with destroy.open_socket() as kill:
        destroy.probe(kill)


def matching(
    action: Release,
    ns: Netns | None,
    stop: threading.Event,
    calm: Calm | None = None,
    clients: KnownClients | None = None,
) -> int:
    """How many connections of a namespace (None: the process's own) match a release now, without regard to its limit.

    Ctrl-C sets `stop`. calm, clients: as for `execute`.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    counts, meant = ReleaseCounts(), Meant(action.filter, action.sparing, clients)

    def work() -> None:
        _hurry()
        census = _census()
        if census is not None and not _cannot_hold():
            behind_door.count(census, meant, counts)
        else:
            by_netlink.count(meant, counts, calm)

    _inside(ns, work, stop)
    return counts.matched


def _inside(ns: Netns | None, work: Callable[[], None], stop: threading.Event) -> None:
    """Run `work` in a thread inside a namespace; Ctrl-C sets `stop`."""
    (ns or netns.current()).run(work, stop.set)


# The nice value of a release: under a flood the receiving CPU is busy, and with a fair share a release falls behind.
_HURRY: Final = -10
# If the process was started with a higher nice value than `watch` sets itself, the user wants it to give way: keep it.
_NICE: Final = 5


def _hurry() -> None:
    """Raise the priority of the calling thread, which ends with the release, if that is allowed."""
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) <= _NICE:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, _HURRY)


def execute(
    action: Release,
    ns: Netns | None = None,
    *,
    dry_run: bool = False,
    stop: threading.Event | None = None,
    within_s: float | None = None,
    calm: Calm | None = None,
    clients: KnownClients | None = None,
) -> Released:
    """Carry out a Release in a namespace (None: the process's own) and return the counts.

    Ctrl-C, or `stop`, ends it after the current batch, with the outcome so far. So does `within_s` after the first
    destroy, which leaves the rest to the next release.

    calm: what earlier readings of the namespace tell of ACKs that were ignored (`core.model.answered`). clients: who is
    a client in the namespace, where the release spares them.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError if nothing was released; later failures are
    `problems`.
    """
    stop = stop or StopEvent()
    counts = ReleaseCounts()
    started = time.monotonic()
    resets: list[int | None] = [None, None]

    def work() -> None:
        if of_thread(ns) != action.where:
            raise UnknownTarget(f"network namespace {action.netns} was replaced by another one: nothing was released")
        _hurry()
        resets[0] = procfs.out_resets()
        try:
            _run(meant_by(action, clients), counts, dry_run, Stop(stop, within_s), calm)
        finally:
            resets[1] = procfs.out_resets()

    try:
        _inside(ns, work, stop)
    except BaseException as e:
        # Something was tried, so return the outcome with the error as a problem, rather than raise it.
        if not counts.matched:
            raise
        counts.problems.append(f"stopped early: {e.message if isinstance(e, HalfopenError) else words(e)}")
    if stop.is_set():
        counts.problems.append("stopped on request")
    if counts.interrupted:
        counts.problems.append("the kernel flagged a dump as interrupted: some connections may have been missed")
    return _outcome(action, counts, resets, time.monotonic() - started, dry_run=dry_run, stopped=stop.is_set())


def _outcome(
    action: Release, counts: ReleaseCounts, resets: list[int | None], seconds: float, *, dry_run: bool, stopped: bool
) -> Released:
    """The outcome of a release. resets: RSTs that the namespace had sent, before and after it."""
    before, after = resets
    return Released(
        action=action,
        matched=counts.matched,
        released=counts.released,
        gone=counts.gone,
        failed=counts.failed,
        resets=after - before if before is not None and after is not None else None,
        left=counts.left,
        spared=counts.spared,
        untouched=counts.untouched,
        may_have_answered=counts.may_have_answered,
        dry_run=dry_run,
        held=counts.held,
        seconds=seconds,
        window_ms=sorted(counts.windows_s)[len(counts.windows_s) // 2] * 1000 if counts.windows_s else 0.0,
        window_max_ms=max(counts.windows_s, default=0.0) * 1000,
        interrupted=counts.interrupted,
        stopped=stopped,
        problems=tuple(counts.problems),
        notes=tuple(counts.notes),
    )
