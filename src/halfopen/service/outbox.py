"""Parcels that wait to be sent to the face: bounded, and putting one in never blocks."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from halfopen.service.messages import Parcel

PARCELS_MOST: Final = 1024
BYTES_MOST: Final = 16 * 1024 * 1024


class Outbox:
    """Two sorts of parcels. Of *latest* ones (metrics), only the newest of each kind is kept. *Kept* ones (notices)
    stay, in order, until the face has acknowledged them, so that none is lost if the face dies; if there are too many,
    the oldest is dropped and counted.
    """

    def __init__(self, parcels_most: int = PARCELS_MOST, bytes_most: int = BYTES_MOST) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, bytes] = {}
        # Since when the newest of a kind has been waiting to be sent.
        self._unsent: dict[str, float] = {}
        self._kept: deque[tuple[Parcel, float]] = deque()
        self._bytes = 0
        self._most, self._bytes_most = parcels_most, bytes_most
        self._number = 0
        self._sent = 0
        self.dropped = 0

    def put_latest(self, kind: str, body: bytes) -> None:
        """Replace the parcel of this kind that waits."""
        with self._lock:
            self._latest[kind] = body
            self._unsent.setdefault(kind, time.monotonic())

    def put(self, kind: str, body: bytes) -> bool:
        """Keep a parcel. Returns False if the oldest one had to be dropped for it."""
        with self._lock:
            self._number += 1
            self._kept.append((Parcel(self._number, kind, body), time.monotonic()))
            self._bytes += len(body)
            whole = True
            while len(self._kept) > self._most or (self._bytes > self._bytes_most and len(self._kept) > 1):
                gone, _ = self._kept.popleft()
                self._bytes -= len(gone.body)
                self.dropped += 1
                whole = False
            return whole

    def next(self) -> Parcel | None:
        """The next parcel to send; None: there is none. Parcels that must not be lost come first."""
        with self._lock:
            if self._kept and self._kept[-1][0].number > self._sent:
                # Numbers are consecutive, and dropped parcels are missing at the front: so this is an index.
                self._sent = max(self._sent + 1, self._kept[0][0].number)
                return self._kept[self._sent - self._kept[0][0].number][0]
            for kind in self._unsent:
                del self._unsent[kind]
                return Parcel(0, kind, self._latest[kind])
            return None

    def taken(self, number: int) -> None:
        """The face has acknowledged every parcel up to this one."""
        with self._lock:
            while self._kept and self._kept[0][0].number <= number:
                gone, _ = self._kept.popleft()
                self._bytes -= len(gone.body)

    def again(self) -> None:
        """For a new face: send again what was not acknowledged, and the newest parcel of each kind."""
        with self._lock:
            self._unsent = dict.fromkeys(self._latest, time.monotonic())
            self._sent = self._kept[0][0].number - 1 if self._kept else self._number

    @property
    def waiting(self) -> bool:
        """Whether there is anything to send."""
        with self._lock:
            return bool(self._unsent) or bool(self._kept and self._kept[-1][0].number > self._sent)

    def waits_s(self) -> float:
        """How long the oldest parcel has been waiting to be sent or acknowledged, s; 0 if none waits."""
        with self._lock:
            since = [*self._unsent.values(), *(at for _, at in list(self._kept)[:1])]
            return time.monotonic() - min(since) if since else 0.0
