"""Reads one listener in detail while its page is open: ages, handshake times, the processes that hold it."""

from __future__ import annotations

from halfopen.core.errors import HalfopenError
from halfopen.core.live import LiveDetails, ages_of
from halfopen.core.model.handshakes import Handshakes, by_listener, collect, difference
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.sample.handshakes import HandshakeCounters
from halfopen.core.sample.workers import Workers
from halfopen.core.where import ListenerKey
from halfopen.read import workers
from halfopen.read.bpf.handshakes import HandshakePrograms


class Focus:
    """Gathers the details of one listener. For the thread that reads only."""

    def __init__(self, inode: int, key: ListenerKey, ages: tuple[int, ...] | None = None) -> None:
        """ages: the last ones that were read, if any."""
        self.inode, self.key = inode, key
        self._programs: HandshakePrograms | None = None
        self._first: HandshakeCounters | None = None
        self._uncounted = ""
        self._ages = ages
        self._workers: Workers | None = None
        try:
            self._programs = HandshakePrograms(inode, arrivals=False)
            self._first = self._programs.read()
        except HalfopenError as e:
            self.close()
            self._uncounted = e.line()

    def close(self) -> None:
        """Stop counting handshakes."""
        if self._programs is not None:
            self._programs.close()
            self._programs = None

    def look(self, model: Model) -> LiveDetails | None:
        """The details after a reading; None where the listener is gone."""
        view = next((v for v in model.listeners if v.key == self.key), None)
        if view is None:
            return None
        self._ages = ages_of(model, self.key) or self._ages
        earlier = None if self._workers is None or not self._workers.by_pid else self._workers
        if view.processes:
            last = None if earlier is None else Workers(earlier.monotonic_s, earlier.by_pid)
            self._workers = workers.read([p.pid for p in view.processes], last)
        return LiveDetails(
            self.inode, self.key, self._ages, self._handshakes(model, view), self._uncounted, self._workers
        )

    def _handshakes(self, model: Model, view: ListenerView) -> Handshakes | None:
        if self._programs is None or self._first is None:
            return None
        try:
            gained = difference(self._programs.read(), self._first)
        except HalfopenError as e:
            self.close()
            self._uncounted = e.line()
            return None
        found = by_listener(gained, model.sample.where, model.sample.listeners)
        mine = (o.handshakes for o in found.listeners if (o.family, o.address, o.port, o.ifindex) == view.key)
        return next(mine, None) or collect(gained, slice(0, 0))
