"""Releasing through a narrow window: look at a slice, destroy it at once, go on; then look again.

For where the door cannot be held (`daemon.held`). A half-open connection that completes between look and destroy would
be reset as an established one, because the child keeps its request's cookie. So the two are kept about a millisecond
apart: one recv() of the dump, one send() of destroys.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.act import destroy
from halfopen.core import join, timing
from halfopen.core.answered import Calm
from halfopen.core.filters import Filter
from halfopen.core.sample import ListenerOptions
from halfopen.daemon.overflows import Overflows
from halfopen.daemon.tally import Stop, Tally, slices
from halfopen.kernel import owners, procfs, sockdiag, timeouts
from halfopen.kernel.listener_options import options as read_options
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
class _Scene:
    """What must be known before anything is destroyed: the listeners, which of them defer, and which ignored ACKs.

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
    overflows: Overflows
    _table: timeouts.Table = field(default_factory=dict)
    _asked_at: float = -_TIMEOUTS_KEEP_S
    wanting: bool = False

    def prepare(self) -> None:
        """Ask for the timeouts before a pass that needs them, never between a look and its destroy."""
        # Sockets may have come since the last pass, and the text costs by the socket.
        self.exact = self.exact and timeouts.affordable(0, 0.0)
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


def _scene(chosen: Filter, calm: Calm | None) -> _Scene:
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
    return _Scene(listeners, options, timing.RTO_MAX_S, chosen, code, may_defer, groups, exact, Overflows(calm))


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


def _pass(kill: socket, scene: _Scene, tally: Tally, stop: Stop) -> int:
    """Walk the request sockets once and destroy the victims slice by slice; returns how many there were."""
    found = spared = 0
    scene.prepare()
    scene.overflows.begin()
    for read_at, rows in slices(scene.code, tally):
        if stop.is_set():
            break
        victims, kept = scene.victims(rows)
        spared += kept
        victims = scene.overflows.certain(victims)
        if not len(victims):
            continue
        stop.begin()
        found += len(victims)
        tally.matched += len(victims)
        if time.monotonic() - read_at < _WINDOW_S:
            tally.destroy(kill, victims, read_at)
            continue
        # The walk to fill this slice took long: other namespaces share the hash, or the machine is busy.
        for start in range(0, len(victims), _CLOSE_BATCH):
            batch, read_at = victims[start : start + _CLOSE_BATCH], time.monotonic()
            still = destroy.look_again(kill, batch)
            tally.gone += len(batch) - len(still)
            sure = scene.overflows.certain(still)
            found, tally.matched = found - len(still) + len(sure), tally.matched - len(still) + len(sure)
            tally.destroy(kill, sure, read_at)
    scene.overflows.end(tally)
    tally.spared = spared + tally.may_have_answered
    return found


def _count(scene: _Scene, tally: Tally) -> int:
    count = spared = 0
    scene.prepare()
    scene.overflows.begin()
    for _, rows in slices(scene.code, tally):
        victims, kept = scene.victims(rows)
        count += len(scene.overflows.certain(victims, destroyed=False))
        spared += kept
    scene.overflows.end(tally)
    tally.spared = spared + tally.may_have_answered
    return count


def run(kill: socket, chosen: Filter, tally: Tally, stop: Stop, calm: Calm | None = None) -> None:
    """Release what the filter lets through, pass after pass. calm: what earlier readings tell of ignored ACKs."""
    scene = _scene(chosen, calm)
    try:
        _run(kill, scene, tally, stop)
    finally:
        scene.overflows.close()
        tally.notes += scene.overflows.notes()


def _run(kill: socket, scene: _Scene, tally: Tally, stop: Stop) -> None:
    for _ in range(MAX_PASSES):
        if stop.is_set():
            break
        if not _pass(kill, scene, tally, stop) and not scene.wanting and not stop.is_set():
            return
    tally.left = _count(scene, tally)


def count(chosen: Filter, tally: Tally, calm: Calm | None = None) -> None:
    """Count what `run` would release."""
    scene = _scene(chosen, calm)
    try:
        tally.matched = _count(scene, tally)
        if scene.wanting:
            tally.matched = _count(scene, tally)
    finally:
        scene.overflows.close()
        tally.notes += scene.overflows.notes()
