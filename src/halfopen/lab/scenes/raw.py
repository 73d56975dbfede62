"""Raw SYNs at a steady rate, from drawn sources and towards drawn ports."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import UsageError
from halfopen.lab.background import Background
from halfopen.lab.frames import Bytes, Path
from halfopen.lab.raw_host import RawHost
from halfopen.lab.sender import Sender

MAX_S: Final = 600.0
MAX_RATE: Final = 50_000.0
_TICK_S: Final = 0.004
# Addresses that are not used as spoofed sources: real clients have them, or kernels refuse them.
_NOT_SPOOFED: Final = (0, 10, 100, 127, 172, 192, 198)
_LAST_UNICAST: Final = 223


def _host(k: int, n: int) -> int:
    """The k-th host of a prefix of `n` addresses, spread over the whole of it."""
    return 1 + k * 2654435761 % (n - 2) if n > 2 else 0


Draw = Callable[[np.random.Generator, int], Bytes]


def spoofed(v6: bool) -> Draw:
    """Sources drawn from the whole address space; repetitions are rare."""

    def draw(rng: np.random.Generator, n: int) -> Bytes:
        if v6:
            made = rng.integers(0, 256, size=(n, 16), dtype=np.uint8)
            made[:, 0] = 0x20 + (made[:, 0] & 0x1F)  # 2000::/3
            # Not the documentation prefix, where the lab's own addresses are.
            made[:, 1] |= 0x10
            return made
        first = np.setdiff1d(np.arange(1, _LAST_UNICAST + 1), _NOT_SPOOFED).astype(np.uint8)
        made = rng.integers(0, 256, size=(n, 4), dtype=np.uint8)
        made[:, 0] = rng.choice(first, size=n)
        return made

    return draw


def within(prefixes: list[str], addresses: int) -> Draw:
    """Sources drawn evenly from `addresses` addresses of each prefix."""
    nets = [ipaddress.ip_network(p) for p in prefixes]
    pool = np.array(
        [
            list((net.network_address + _host(k, net.num_addresses)).packed)
            for net in nets
            for k in range(min(addresses, net.num_addresses))
        ],
        dtype=np.uint8,
    )

    def draw(rng: np.random.Generator, n: int) -> Bytes:
        made: Bytes = pool[rng.integers(0, len(pool), size=n)]
        return made

    return draw


class Raw(Background):
    """SYNs in the background until `for_s` is over, `stop` is called or the scene ends. `sent`: how many so far."""

    def __init__(
        self, host: RawHost, path: Path, draw: Draw, rate: float, for_s: float, ports: list[int], seed: int
    ) -> None:
        """rate: SYNs a second, for_s: seconds. Raises: UsageError."""
        if not 0 < rate <= MAX_RATE or not 0 < for_s <= MAX_S:
            raise UsageError(f"a scene sends up to {MAX_RATE:,.0f} SYNs a second for up to {MAX_S:g} s")
        super().__init__()
        self.sent = 0
        self._host, self._path, self._draw, self._rate, self._for_s = host, path, draw, rate, for_s
        self._ports = np.array(ports, dtype=np.uint16)
        self._rng = np.random.default_rng(seed)
        self._begin("scene-raw")

    def _send(self) -> None:
        begun = time.monotonic()
        with self._host.sender() as sender:
            while (now := time.monotonic()) < begun + self._for_s and not self._stop.is_set():
                due = min(int((now - begun) * self._rate) - self.sent, int(self._rate / 20) + 1)
                if due > 0:
                    sender.send(self._frames(due))
                    self.sent += due
                self._follow(sender)
                self._stop.wait(max(_TICK_S, (self.sent + 1) / self._rate - (time.monotonic() - begun)))

    def _follow(self, sender: Sender) -> None:
        """Hook for subclasses that react to answers."""

    def _seqs(self, source_port: NDArray[np.uint16]) -> NDArray[np.uint32]:
        return self._rng.integers(0, 2**32, size=len(source_port), dtype=np.uint32)

    def _frames(self, n: int) -> Bytes:
        rng = self._rng
        source_port = rng.integers(1024, 65536, size=n, dtype=np.uint16)
        seq = self._seqs(source_port)
        made = self._path.syns(self._draw(rng, n), source_port, seq, time.monotonic_ns() // 1_000_000 & 0xFFFFFFFF)
        if len(self._ports) > 1:
            self._readdress(made, self._ports[rng.integers(0, len(self._ports), size=n)])
        return made

    def _readdress(self, frames: Bytes, port: NDArray[np.uint16]) -> None:
        """Change the destination ports of frames, and update their checksums (RFC 1624)."""
        at = self._path.tcp_offset
        delta = port.astype(np.int64) - self._path.port
        check = (frames[:, at + 16].astype(np.int64) << 8) | frames[:, at + 17]
        check = (check - delta) % 0xFFFF
        frames[:, at + 2], frames[:, at + 3] = port >> 8, port & 0xFF
        frames[:, at + 16], frames[:, at + 17] = check >> 8, check & 0xFF

    def stop(self) -> int:
        """End it now. Returns how many SYNs were sent. Raises: the error in `failed`."""
        self._end()
        return self.sent
