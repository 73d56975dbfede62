"""Releasing without the eBPF census: by netlink, which does not show who has answered.

With a door (`ops.release.doors`), a dump finds the victims, the door is held for them, and each is looked up once more
and destroyed if it is still half-open. Without a door there is a window: a connection that completes between look and
destroy would be reset, because it keeps the cookie of its request. So the two are kept about a millisecond apart: each
recv() of the dump is followed by a send() of destroys.
"""

from __future__ import annotations

import time
from socket import socket
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.change import destroy
from halfopen.change.door import hashes
from halfopen.core.filters import Filter
from halfopen.core.model import join, timing
from halfopen.core.model.answered import Calm
from halfopen.core.sample import REQUEST
from halfopen.core.victims import by_timers, certain
from halfopen.linux.sockets import open_sock_diag
from halfopen.ops.release import doors
from halfopen.ops.release.counts import ReleaseCounts, Stop, slices
from halfopen.ops.release.doors import AnyDoor
from halfopen.ops.release.meant import Meant
from halfopen.ops.release.overflows import Overflows
from halfopen.read import owners, procfs, sockdiag, timeouts
from halfopen.read.listener_options import read_options
from halfopen.read.requests import kernel_code

# Destroying shortens the hash chains that the dump walks, so a pass may miss some victims, which the next one finds.
# The number of passes is limited, as under a flood each finds new ones.
MAX_PASSES: Final = 5
# A timer that is restarted after /proc was read runs for at least 4 s (one retransmission was sent before). For the
# first 2 of them, its length shows that (`timing.waits`).
_TIMEOUTS_KEEP_S: Final = 1.5
# The counter of requests that became deferred by their last ACK (`tcp_check_req()`).
_DEFERRED: Final = "TCPDeferAcceptDrop"
# If a slice is older than this when its victims are to be destroyed, they are looked up again, this many at a time.
_WINDOW_S: Final = 0.005
_CLOSE_BATCH: Final = 128

_UPPER: Final = (
    "without eBPF, ages are upper bounds for clients that retransmitted their SYN: some of those "
    "released may have been younger"
)


class _Scene(Struct):
    """The facts needed before anything is destroyed: the listeners, which of them defer, and which ignored ACKs.

    may_defer: groups of listeners that do, or may for all that is known. exact: timeouts are cheap enough to be asked
    for every request. door: None: none can be held. upper: victims were chosen by ages that may be too high.
    """

    listeners: NDArray[Any]
    cap_s: float
    meant: Meant
    code: bytes
    may_defer: list[int]
    groups: list[join.Group]
    exact: bool
    overflows: Overflows
    deferred: procfs.Counter
    door: AnyDoor | None
    spared: int = 0
    untouched: int = 0
    room: int | None = None
    upper: bool = False
    _table: timeouts.Table = field(default_factory=dict)
    _asked_at: float = -_TIMEOUTS_KEEP_S

    def begin(self, room: int | None = None) -> None:
        """Begin a pass for at most `room` victims. Timeouts are read now, not between a look and its destroy."""
        # Decided anew in each pass: the text of /proc costs time for each socket, and more may have come.
        self.exact = self.exact and timeouts.affordable(0, 0.0)
        if self.exact:
            self._asked_at = time.monotonic()
            self._table = timeouts.read()
        self.spared, self.untouched, self.room = 0, 0, room
        self.overflows.begin()

    def end(self, counts: ReleaseCounts) -> None:
        """End a pass: count the requests that it spared."""
        self.overflows.end(counts)
        counts.spared, counts.untouched = self.spared + counts.may_have_answered, self.untouched

    def close(self, counts: ReleaseCounts) -> None:
        """End the release."""
        self.overflows.close()
        self.deferred.close()
        counts.notes += self.overflows.notes()
        if self.upper and counts.released:
            counts.notes.append(_UPPER)

    def victims(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The selected rows among (N,) REQUEST that do not look deferred, (K,) REQUEST; at most `room`."""
        fresh = time.monotonic() - self._asked_at <= _TIMEOUTS_KEEP_S
        asked = timeouts.look_up(self._table, rows) if self.exact and fresh else None
        found = self.meant.select(rows, *by_timers(rows, self.cap_s, asked))
        self.upper |= asked is None and found.count > 0 and self.meant.filter.older_than_s is not None
        self.spared += found.spared
        self.untouched += found.untouched
        meant = rows if found.mask.all() else rows[found.mask]
        if self.room is not None:
            meant = meant[: self.room]
            self.room -= len(meant)
        return meant

    def certain(self, victims: NDArray[Any], *, destroyed: bool = True) -> NDArray[Any]:
        """Of N requests that were just read, (N,) REQUEST, those that are certainly half-open, (K,) REQUEST.

        On a listener that may defer, none is certain, unless no request of the namespace was ever deferred: an ACK
        makes a request deferred, and nothing shows that before its timer runs out.
        """
        if self.may_defer and self.deferred.read() != 0:
            uncertain = np.isin(join.assign(victims, self.groups), self.may_defer)
            found = certain(np.ones(len(victims), dtype=bool), uncertain)
            self.spared += found.spared
            victims = victims[found.mask]
        return self.overflows.certain(victims, destroyed=destroyed)


def _scene(meant: Meant, calm: Calm | None, door: AnyDoor | None) -> _Scene:
    with open_sock_diag() as look:
        listeners, _ = sockdiag.listeners(look)
    settings = procfs.settings()
    options, _ = read_options(owners.holders(listeners["inode"].tolist()), settings)
    groups = join.groups(listeners)
    may_defer = []
    for i, group in enumerate(groups):
        known = [options.get(int(listeners[row]["inode"])) for row in group.rows]
        if any(o is None or o.defer_accept_s for o in known):
            may_defer.append(i)
    code, exact = kernel_code(meant.filter), _few(meant.filter)
    overflows, deferred = Overflows(calm), procfs.Counter(_DEFERRED)
    return _Scene(listeners, timing.RTO_MAX_S, meant, code, may_defer, groups, exact, overflows, deferred, door)


def _few(chosen: Filter) -> bool:
    """Whether the filter has an age, and requests are few enough to determine it exactly."""
    if chosen.older_than_s is None:
        return False
    started = time.monotonic()
    with open_sock_diag() as look:
        count = 0
        for part in sockdiag.slices(look, kernel_code(chosen), stretch=0):
            count += sum(len(rows) for rows in part.parts)
            if count > timeouts.MAX_REQUESTS:
                return False
    return timeouts.affordable(count, time.monotonic() - started)


def _pass(kill: socket, scene: _Scene, counts: ReleaseCounts, stop: Stop) -> int:
    """Walk the request sockets once and destroy the victims. Returns how many there were."""
    before = counts.matched
    scene.begin(scene.meant.room(before))
    if scene.door is None:
        _slice_by_slice(kill, scene, counts, stop)
    else:
        _behind(scene.door, kill, scene, counts, stop)
    scene.end(counts)
    return counts.matched - before


def _behind(door: AnyDoor, kill: socket, scene: _Scene, counts: ReleaseCounts, stop: Stop) -> None:
    """Collect victims, as many as the door takes at a time, and destroy them while it is held."""
    waiting: list[NDArray[Any]] = []
    count = 0
    for _, rows in slices(scene.code, counts, stretch=None):
        victims = scene.victims(rows)
        while len(victims):
            waiting.append(victims[: door.most - count].copy())
            victims, count = victims[door.most - count :], count + len(waiting[-1])
            if count == door.most:
                _held(door, waiting, kill, scene, counts, stop)
                waiting, count = [], 0
        if stop.is_set():
            return
    if count:
        _held(door, waiting, kill, scene, counts, stop)


def _held(
    door: AnyDoor, waiting: list[NDArray[Any]], kill: socket, scene: _Scene, counts: ReleaseCounts, stop: Stop
) -> None:
    """Hold the door for victims and destroy those that are still half-open; the rest is left to the next pass."""
    victims = np.concatenate(waiting, dtype=REQUEST)
    with door.held([hashes(victims)], [victims]):
        counts.held = not counts.windows_s
        for start in range(0, len(victims), destroy.BATCH):
            if stop.is_set() or not door.keep():
                return
            stop.begin()
            batch = victims[start : start + destroy.BATCH]
            still = destroy.look_again(kill, batch)
            sure = scene.certain(still)
            if not doors.destroy(door, kill, sure, counts, len(batch) - len(still)):
                return


def _slice_by_slice(kill: socket, scene: _Scene, counts: ReleaseCounts, stop: Stop) -> None:
    for read_at, rows in slices(scene.code, counts):
        if stop.is_set():
            break
        victims = scene.certain(scene.victims(rows))
        if not len(victims):
            continue
        stop.begin()
        counts.matched += len(victims)
        if time.monotonic() - read_at < _WINDOW_S:
            counts.destroy(kill, victims, read_at)
            continue
        # Filling this slice took long, as other namespaces share the hash or the machine is busy: look again.
        for start in range(0, len(victims), _CLOSE_BATCH):
            batch, read_at = victims[start : start + _CLOSE_BATCH], time.monotonic()
            still = destroy.look_again(kill, batch)
            counts.gone += len(batch) - len(still)
            sure = scene.certain(still)
            counts.matched += len(sure) - len(still)
            counts.destroy(kill, sure, read_at)


def _count(scene: _Scene, counts: ReleaseCounts) -> int:
    count = 0
    scene.begin()
    for _, rows in slices(scene.code, counts):
        count += len(scene.certain(scene.victims(rows), destroyed=False))
    scene.end(counts)
    return count


def run(
    kill: socket,
    meant: Meant,
    counts: ReleaseCounts,
    stop: Stop,
    calm: Calm | None = None,
    door: AnyDoor | None = None,
) -> None:
    """Release the selected connections, in passes. calm: what earlier readings say about ignored ACKs."""
    scene = _scene(meant, calm, door)
    try:
        for _ in range(MAX_PASSES):
            if not _pass(kill, scene, counts, stop) and not stop.is_set():
                return
            if stop.is_set():
                break
        counts.left = _count(scene, counts)
    finally:
        scene.close(counts)


def count(meant: Meant, counts: ReleaseCounts, calm: Calm | None = None) -> None:
    """Count what `run` would release."""
    scene = _scene(meant, calm, None)
    try:
        counts.matched = _count(scene, counts)
    finally:
        scene.close(counts)
