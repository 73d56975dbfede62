"""Half-open connections: SYNs without a following ACK, with a given number, rate and kind of sources."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import V4_MAPPED
from halfopen.core.errors import UsageError
from halfopen.lab import requests, wiring
from halfopen.lab.background import Background
from halfopen.lab.frames import Bytes, Path
from halfopen.lab.listener import LabListener
from halfopen.lab.raw_host import RawHost
from halfopen.lab.sender import BATCH, Sender
from halfopen.lab.sources import FLOOD, Pool

MAX_COUNT: Final = 2_000_000
MAX_FLOOD: Final = 20_000_000
MAX_RATE: Final = 1_000_000
MAX_DURATION_S: Final = 600.0

_CHUNK: Final = 16 * BATCH
# The longest time that a paced batch covers, and how often a waiting sender checks whether it should stop.
_TICK_S: Final = 0.002
_POLL_S: Final = 0.02
_GRACE_S: Final = 1.0


def check_bounds(count: int, rate: float | None, *, most: int = MAX_COUNT, duration_s: float | None = None) -> None:
    """Raises: UsageError for more packets, a higher rate or a longer time than the lab sends."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= most:
        raise UsageError(f"the lab sends 0 to {most:,} at a time, not {count!r}")
    if rate is not None and not 0 < rate <= MAX_RATE:
        raise UsageError(f"the lab's rate is above 0 and at most {MAX_RATE:,} a second, not {rate!r}")
    seconds = duration_s if duration_s is not None else (count / rate if rate else 0.0)
    if not 0 <= seconds <= MAX_DURATION_S:
        raise UsageError(f"the lab's traffic lasts at most {MAX_DURATION_S:g} s, not {seconds:g} s")


def path_to(target: str, port: int) -> Path:
    """The addresses of frames from the client to the server's `target`."""
    return Path(wiring.CLIENT.mac, wiring.SERVER.mac, target, port)


class Sent(Struct, eq=False):
    """The SYNs of one `half_open`: arrays of equal length, in the order of sending.

    source: (n, 16) uint8, as the listener's kernel shows them (IPv4 in the first four bytes, v4-mapped for an IPv6
    listener). source_port, seq: (n,). sent_at_s: (n,) time.monotonic. lost: frames that the wire lost for good.
    """

    listener: LabListener
    v6: bool
    source: Bytes
    source_port: NDArray[np.uint16]
    seq: NDArray[np.uint32]
    sent_at_s: NDArray[np.float64]
    lost: int = 0

    @property
    def count(self) -> int:
        """How many SYNs were sent."""
        return len(self.seq)

    def addresses(self) -> list[str]:
        """The sources as text, v4-mapped ones as plain IPv4. For few: it makes an object each."""
        from halfopen.core.units import address_text

        return [address_text(10 if self.listener.v6 else 2, row.tobytes()) for row in self.source]

    def held_mask(self) -> NDArray[np.bool_]:
        """(n,) whether the server's kernel holds each as a request socket now."""
        rows = requests.held(self.listener.server, self.listener.port)
        there = _keys(rows["remote_high"], rows["remote_low"], rows["remote_port"])
        mask: NDArray[np.bool_] = np.isin(keys_of(self.source, self.source_port), there)
        return mask

    def held(self) -> int:
        """How many of them the server's kernel holds as request sockets now."""
        return int(self.held_mask().sum())

    def settled(self, timeout: float = 30.0) -> int:
        """Wait until the server holds all of them, at most `timeout` seconds; how many it holds."""
        deadline = time.monotonic() + timeout
        while (there := self.held()) < self.count and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return there


def _keys(high: NDArray[Any], low: NDArray[Any], port: NDArray[Any]) -> NDArray[np.uint64]:
    # One number a pair, to sort and compare at full speed. 64 mixed bits: two of a million meet once in 10**7 labs.
    key: NDArray[np.uint64] = high.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ low.astype(np.uint64)) * np.uint64(0xC2B2AE3D27D4EB4F)
    key = (key ^ (key >> np.uint64(29)) ^ port.astype(np.uint64)) * np.uint64(0x165667B19E3779F9)
    return key ^ (key >> np.uint64(32))


def keys_of(source: Bytes, port: NDArray[Any]) -> NDArray[np.uint64]:
    """One number for each (address, port) pair; addresses (N, 4 or 16)."""
    halves = np.ascontiguousarray(as_shown(source, False)).view(">u8").reshape(-1, 2)
    return _keys(halves[:, 0], halves[:, 1], port)


def as_shown(source: Bytes, listener_v6: bool) -> Bytes:
    """Addresses (N, 4 or 16) in the 16 bytes that inet_diag gives them for a listener of that family."""
    if source.shape[1] == 16:
        return source
    shown = np.zeros((len(source), 16), dtype=np.uint8)
    if listener_v6:
        shown[:, :12] = np.frombuffer(V4_MAPPED, dtype=np.uint8)
        shown[:, 12:] = source
    else:
        shown[:, :4] = source
    return shown


def timestamp() -> int:
    """A TCP timestamp as a client would send it now: milliseconds."""
    return time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF


class Pace:
    """The pace of a run: when frames are due at `rate` a second; None: at once."""

    def __init__(self, rate: float | None, stopped: Callable[[], bool]) -> None:
        self._rate = rate
        self._stopped = stopped
        self._begun = time.monotonic()
        self._done = 0

    def batches(self, n: int) -> Iterator[tuple[int, int]]:
        """Ranges of 0 to `n` in order, each when it is due; ends early once stopped."""
        first = 0
        most = _CHUNK if self._rate is None else max(1, min(_CHUNK, int(self._rate * _TICK_S)))
        while first < n and not self._stopped():
            due = n if self._rate is None else int((time.monotonic() - self._begun) * self._rate) + 1 - self._done
            if due <= 0:
                ahead_s = self._done / (self._rate or 1) - (time.monotonic() - self._begun)
                time.sleep(max(0.0, min(_POLL_S, ahead_s)))
                continue
            last = min(n, first + min(due, most))
            yield first, last
            self._done += last - first
            first = last


def half_open(client: RawHost, listener: LabListener, n: int, rate: float | None, sources: str, target: str) -> Sent:
    """Send `n` SYNs to `target` and say what was sent. Bounds and listener were checked by the caller."""
    path = path_to(target, listener.port)
    pool = FLOOD[sources]
    source, port = pool.pair(client.turns.take(FLOOD, sources, path.v6, n), path.v6)
    seq = client.random_seq(n)
    at_s = np.empty(n, dtype=np.float64)
    sent = Sent(listener, path.v6, as_shown(source, listener.v6), port, seq, at_s)
    with client.sender() as sender:
        for a, b in Pace(rate, lambda: False).batches(n):
            frames = path.syns(source[a:b], port[a:b], seq[a:b], timestamp())
            at_s[a:b], lost = sender.send(frames, patient=True)
            sent.lost += lost
    return sent


class Flood(Background):
    """SYNs at a steady rate in a background thread, until `duration_s` is over, `stop` is called or the lab closes."""

    def __init__(
        self, client: RawHost, listener: LabListener, rate: float, duration_s: float, sources: str, target: str
    ) -> None:
        super().__init__()
        self.listener = listener
        self.sent = 0
        self.lost = 0
        self._client = client
        self._rate = rate
        # It ends by its count, or by time if this machine cannot keep up with the rate.
        self._until = time.monotonic() + duration_s + _GRACE_S
        self._most = int(rate * duration_s)
        self._sources = sources
        self._path = path_to(target, listener.port)
        self._begin("lab-flood")

    def _send(self) -> None:
        with self._client.sender() as sender:
            self._send_all(sender, FLOOD[self._sources])

    def _send_all(self, sender: Sender, pool: Pool) -> None:
        def over() -> bool:
            return self._stop.is_set() or time.monotonic() > self._until

        for a, b in Pace(self._rate, over).batches(self._most):
            index = self._client.turns.take(FLOOD, self._sources, self._path.v6, b - a)
            source, port = pool.pair(index, self._path.v6)
            frames = self._path.syns(source, port, self._client.random_seq(b - a), timestamp())
            _, lost = sender.send(frames)
            self.sent += b - a
            self.lost += lost

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; whether it has."""
        return self._ended(timeout)

    def stop(self) -> int:
        """End it now. Returns how many SYNs were sent. Raises: the error in `failed`."""
        self._end()
        return self.sent
