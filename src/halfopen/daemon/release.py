"""Releasing: look at a slice, destroy it at once, go on; then look again. Reading and destroying meet here.

A half-open connection that completes between look and destroy would be reset as an established one, because the child
keeps its request's cookie. So the two are kept about a millisecond apart: one recv() of the dump, one send() of
destroys.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.act import destroy
from halfopen.core import join, timing
from halfopen.core.actions import Release, Released
from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.model import rto_max_s
from halfopen.core.sample import ListenerOptions
from halfopen.kernel import netns, owners, procfs, sockdiag, timeouts
from halfopen.kernel.listener_options import options as read_options
from halfopen.kernel.netns import Netns
from halfopen.kernel.reader import kernel_code

# Destroying shortens the hash chains the dump is walking, so a pass may step over a few: the next finds them. Under a
# flood every pass finds new ones, so there is an end to passes.
MAX_PASSES: Final = 5
# A timer that runs out after /proc was asked is at least 4 s long (one retransmission was sent before), and shows by
# its length (`timing.waits`) for the first 2 of them.
_TIMEOUTS_KEEP_S: Final = 1.5
# A slice that is older than this when it is to be destroyed is looked at again, so many at a time.
_WINDOW_S: Final = 0.005
_CLOSE_BATCH: Final = 128


@dataclass(slots=True)
class _Tally:
    matched: int = 0
    released: int = 0
    gone: int = 0
    failed: int = 0
    left: int = 0
    spared: int = 0
    windows_s: list[float] = field(default_factory=list)
    interrupted: bool = False
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Scene:
    """What must be known before anything is destroyed: the listeners, and which of them defer.

    may_defer: groups of listeners that do, or may for all that is known. exact: timeouts are cheap enough to be asked
    for every request, not only for those of such listeners.
    """

    listeners: NDArray[Any]
    options: dict[int, ListenerOptions]
    cap_s: float
    chosen: Filter
    code: bytes
    may_defer: list[int]
    groups: list[join.Group]
    exact: bool
    _table: timeouts.Table = field(default_factory=dict)
    _asked_at: float = -_TIMEOUTS_KEEP_S
    wanting: bool = False

    def prepare(self) -> None:
        """Ask for the timeouts before a pass that needs them, never between a look and its destroy."""
        if self.exact or self.wanting:
            self._asked_at = time.monotonic()
            self._table = timeouts.read()
        self.wanting = False

    def victims(self, rows: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """The half-open requests among `rows` that the filter lets through, and how many were spared.

        Spared are deferred-accept requests, and on a listener that may defer those that are not certain to be none: in
        their first second, not shown by /proc, or looked at too long after it was asked (`wanting`: ask and look
        again).
        """
        fresh = time.monotonic() - self._asked_at <= _TIMEOUTS_KEEP_S
        uncertain = np.zeros(len(rows), dtype=bool)
        asked = timeouts.look_up(self._table, rows) if self.exact and fresh else None
        if self.may_defer:
            uncertain = np.isin(join.assign(rows, self.groups), self.may_defer)
            told = uncertain & (rows["retransmits"] > 0)
            if fresh and asked is None and told.any():
                asked = np.full(len(rows), timing.UNKNOWN, dtype=np.uint8)
                asked[told] = timeouts.look_up(self._table, rows[told])
            if asked is not None:
                uncertain &= ~(told & (asked != timing.UNKNOWN))
            self.wanting |= not fresh and bool(told.any())
        count = timing.waits(rows["retransmits"], rows["expires_ms"], self.cap_s, asked)
        spare = (count > rows["retransmits"]) | uncertain
        ages = timing.ages_s(rows["retransmits"], count, rows["expires_ms"], self.cap_s)
        meant = self.chosen.mask(rows, ages)
        spared = int(np.count_nonzero(meant & spare))
        meant &= ~spare
        return (rows if meant.all() else rows[meant]), spared


def _scene(chosen: Filter) -> _Scene:
    with sockdiag.open_socket() as look:
        listeners, _ = sockdiag.listeners(look)
    settings = procfs.settings()
    options, _ = read_options(owners.holders(listeners["inode"].tolist()), settings)
    groups = join.groups(listeners)
    may_defer = []
    for i, group in enumerate(groups):
        known = [options.get(int(listeners[row]["inode"])) for row in group.rows]
        if any(o is None or o.defer_accept_s for o in known):
            may_defer.append(i)
    code, exact = kernel_code(chosen), _few(chosen)
    return _Scene(listeners, options, rto_max_s(settings), chosen, code, may_defer, groups, exact)


def _few(chosen: Filter) -> bool:
    """Whether there are few enough requests to ask for the exact age of each, and an age is asked for."""
    if chosen.older_than_s is None:
        return False
    started = time.monotonic()
    with sockdiag.open_socket() as look:
        count = 0
        for part in sockdiag.slices(look, kernel_code(chosen), stretch=0):
            count += sum(len(rows) for rows in part.parts)
            if count > timeouts.MAX_REQUESTS:
                return False
    return timeouts.affordable(count, time.monotonic() - started)


def _slices(code: bytes, tally: _Tally) -> Iterator[tuple[float, NDArray[Any]]]:
    """Slices of a dump, each with the time before which its content cannot have been read."""
    # A socket of its own for each look: one that was broken off answers EBUSY to the next.
    with sockdiag.open_socket() as look:
        # The kernel fills the next slice while it hands out the last one: a slice is as old as the recv() before its
        # own.
        filled = asked = time.monotonic()
        for part in sockdiag.slices(look, code, stretch=0):
            tally.interrupted |= part.interrupted
            for rows in part.parts:
                yield filled, rows
            filled, asked = asked, time.monotonic()


def _pass(kill: socket, scene: _Scene, tally: _Tally, stop: threading.Event) -> int:
    """Walk the request sockets once and destroy the victims slice by slice; returns how many there were."""
    found = spared = 0
    scene.prepare()
    for read_at, rows in _slices(scene.code, tally):
        if stop.is_set():
            break
        victims, kept = scene.victims(rows)
        spared += kept
        if not len(victims):
            continue
        found += len(victims)
        tally.matched += len(victims)
        if time.monotonic() - read_at < _WINDOW_S:
            _destroy(kill, victims, read_at, tally)
            continue
        # The walk to fill this slice took long: other namespaces share the hash, or the machine is busy.
        for start in range(0, len(victims), _CLOSE_BATCH):
            batch, read_at = victims[start : start + _CLOSE_BATCH], time.monotonic()
            still = destroy.look_again(kill, batch)
            tally.gone += len(batch) - len(still)
            _destroy(kill, still, read_at, tally)
    tally.spared = spared
    return found


def _destroy(kill: socket, victims: NDArray[Any], read_at: float, tally: _Tally) -> None:
    counts = destroy.destroy(kill, victims)
    tally.windows_s.append(time.monotonic() - read_at)
    tally.released += counts.released
    tally.gone += counts.gone
    tally.failed += counts.failed
    if counts.failed:
        note = f"the kernel refused to destroy some: {os.strerror(counts.errno)}"
        if note not in tally.problems:
            tally.problems.append(note)


def _count(scene: _Scene, tally: _Tally) -> int:
    count = spared = 0
    scene.prepare()
    for _, rows in _slices(scene.code, tally):
        victims, kept = scene.victims(rows)
        count += len(victims)
        spared += kept
    tally.spared = spared
    return count


def _run(chosen: Filter, tally: _Tally, dry_run: bool, stop: threading.Event) -> None:
    with sockdiag.open_socket() as kill:
        destroy.prepare(kill)
        destroy.probe(kill)
        scene = _scene(chosen)
        if dry_run:
            tally.matched = _count(scene, tally)
            if scene.wanting:
                tally.matched = _count(scene, tally)
            tally.left = tally.matched
            return
        for _ in range(MAX_PASSES):
            if stop.is_set():
                break
            if not _pass(kill, scene, tally, stop) and not scene.wanting and not stop.is_set():
                return
        tally.left = _count(scene, tally)


def execute(
    action: Release, ns: Netns | None = None, *, dry_run: bool = False, stop: threading.Event | None = None
) -> Released:
    """Carry out a Release in a namespace (None: the process's own) and count what came of it.

    Ctrl-C, or setting `stop` from elsewhere, ends it after the slice at hand, with the outcome so far.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError when nothing was released; later failures are
    `problems`.
    """
    fd = None if ns is None or ns.path == netns.SELF else ns.open()
    stop = stop or threading.Event()
    tally = _Tally()
    started = time.monotonic()
    resets: list[int | None] = [None, None]

    def work() -> None:
        resets[0] = procfs.out_resets()
        try:
            _run(action.filter, tally, dry_run, stop)
        except HalfopenError as e:
            if not tally.matched:
                raise
            tally.problems.append(f"broken off: {e.message}")
        finally:
            resets[1] = procfs.out_resets()

    try:
        netns.run_in(fd, work, stop.set)
    finally:
        if fd is not None:
            os.close(fd)
    if stop.is_set():
        tally.problems.append("broken off on request")
    if tally.interrupted:
        tally.problems.append("the kernel flagged a look as interrupted: some connections may have been passed over")
    before, after = resets
    return Released(
        action=action,
        matched=tally.matched,
        released=tally.released,
        gone=tally.gone,
        failed=tally.failed,
        resets=after - before if before is not None and after is not None else None,
        left=tally.left,
        spared=tally.spared,
        dry_run=dry_run,
        seconds=time.monotonic() - started,
        window_ms=sorted(tally.windows_s)[len(tally.windows_s) // 2] * 1000 if tally.windows_s else 0.0,
        window_max_ms=max(tally.windows_s, default=0.0) * 1000,
        interrupted=tally.interrupted,
        problems=tuple(tally.problems),
    )
