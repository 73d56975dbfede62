"""Where the lab's raw clients come from: address pools, and which (address, port) is whose turn.

Every pair is used once in a lab before any is used again, so counts are exact. The pools of floods and of slow
clients are apart: a packet filter on an address prefix tells whose SYN-ACK it is.
"""

from __future__ import annotations

import ipaddress
import threading
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.errors import UsageError
from halfopen.lab.frames import Bytes

SourceKind = Literal["spoofed", "few", "one"]

PORTS: Final = 65536 - 1024
# Steps that share no factor with the sizes they walk, so that neighbours in time are none in address or port.
_ADDRESS_STEP: Final = 48271
_PORT_STEP: Final = 40507
_PORT_SHIFT: Final = 7919

SLOW_V4: Final = "198.19.240.0/21"
SLOW_V6: Final = "2001:2:0:ffff::/64"


class Pool(Struct, frozen=True):
    """`size` addresses from `v4` and from `v6` on. `subnets`: spread the IPv6 ones over that many /64s."""

    size: int
    v4: str
    v6: str
    subnets: int = 1

    @property
    def pairs(self) -> int:
        """How many (address, port) pairs there are."""
        return self.size * PORTS

    def pair(self, index: NDArray[np.uint64], v6: bool) -> tuple[Bytes, NDArray[np.uint16]]:
        """Addresses (N, 4 or 16) and ports (N,) of turns `index` (N,); different for different turns below `pairs`."""
        k = index % self.size * _ADDRESS_STEP % self.size
        port = (index // np.uint64(self.size) % PORTS * _PORT_STEP + k * _PORT_SHIFT) % PORTS + 1024
        return (self._v6(k) if v6 else self._v4(k)), port.astype(np.uint16)

    def _v4(self, k: NDArray[np.uint64]) -> Bytes:
        address = k + np.uint64(int(ipaddress.IPv4Address(self.v4)))
        return address.astype(">u4").view(np.uint8).reshape(-1, 4)

    def _v6(self, k: NDArray[np.uint64]) -> Bytes:
        base = int(ipaddress.IPv6Address(self.v6))
        halves = np.empty((len(k), 2), dtype=">u8")
        halves[:, 0] = np.uint64(base >> 64) + k % self.subnets
        # An odd multiplier permutes 32 bits: distinct, and no two alike to the eye.
        spread = k * 2654435761 % 2**32 if self.subnets > 1 else k
        halves[:, 1] = np.uint64(base & (2**64 - 1)) + spread
        return halves.view(np.uint8).reshape(-1, 16)


FLOOD: Final[dict[str, Pool]] = {
    "spoofed": Pool(126_975, "198.18.0.1", "2001:2::1", subnets=16384),
    "few": Pool(8, "198.19.255.1", "2001:2:0:fffe::1"),
    "one": Pool(1, "198.19.255.9", "2001:2:0:fffe::9"),
}
SLOW: Final[dict[str, Pool]] = {
    "spoofed": Pool(1792, "198.19.240.0", "2001:2:0:ffff::100"),
    "few": Pool(8, "198.19.247.1", "2001:2:0:ffff::1"),
    "one": Pool(1, "198.19.247.9", "2001:2:0:ffff::9"),
}


class Turns:
    """Hands out turns of each pool, one lab long. Safe to call from any thread."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, bool], int] = {}
        self._lock = threading.Lock()

    def take(self, pools: dict[str, Pool], sources: str, v6: bool, n: int) -> NDArray[np.uint64]:
        """The next `n` turns (n,) of a pool. Raises: UsageError when it has not that many pairs."""
        pool = pools[sources]
        if n > pool.pairs:
            raise UsageError(f"sources={sources!r} gives {pool.pairs:,} (address, port) pairs, not {n:,}")
        key = (pool.v4, v6)
        with self._lock:
            first = self._next.get(key, 0)
            self._next[key] = first + n
        return np.arange(first, first + n, dtype=np.uint64)


def check_sources(sources: str) -> None:
    """Raises: UsageError for a word that names no pool."""
    if sources not in FLOOD:
        raise UsageError(f"sources is one of {', '.join(FLOOD)}, not {sources!r}")
