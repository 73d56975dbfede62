"""Prefixes of sources that are numbers: an IPv4 address, or the first 64 bits of an IPv6 address."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

# An IPv6 address below ::1:0:0:0:0 would look like an IPv4 address; none of them is routed.
_V4_NUMBERS: Final = np.uint64(2**32)
# Shorter prefixes stand for no network that could be named.
_V4_BITS: Final = (32, 28, 24, 20, 16, 12)
_V6_BITS: Final = (64, 60, 56, 52, 48, 44, 40, 36, 32)


def is_v4(numbers: Numbers) -> NDArray[np.bool_]:
    """Which of N sources are IPv4 addresses, (N,)."""
    found: NDArray[np.bool_] = numbers < _V4_NUMBERS
    return found


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prefix: `number` of its first address, `bits` long."""

    version: int
    number: int
    bits: int

    @property
    def text(self) -> str:
        """As in "10.1.0.0/16", and "10.1.0.7" for a single address."""
        if (self.version, self.bits) == (4, 32):
            return str(ipaddress.IPv4Address(self.number))
        if self.version == 4:
            return str(ipaddress.IPv4Network((self.number, self.bits)))
        return str(ipaddress.IPv6Network((self.number << 64, self.bits)))

    def wider(self, bits: int) -> Prefix:
        """The prefix of this length that it is a part of."""
        shift = (32 if self.version == 4 else 64) - bits
        return Prefix(self.version, self.number >> shift << shift, bits)

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of N sources lie within, (N,)."""
        shift = np.uint64((32 if self.version == 4 else 64) - self.bits)
        inside: NDArray[np.bool_] = numbers >> shift == np.uint64(self.number) >> shift
        inside &= is_v4(numbers) == (self.version == 4)
        return inside


def narrowest(numbers: Numbers, share: float) -> Prefix | None:
    """The narrowest prefix that holds at least this share of N sources, each counted as often as it stands there.

    None: they are too far apart for a prefix, or there are none.
    """
    least = share * len(numbers)
    v4 = is_v4(numbers)
    for version, mine, lengths, all_bits in ((4, numbers[v4], _V4_BITS, 32), (6, numbers[~v4], _V6_BITS, 64)):
        if not len(mine) or len(mine) < least:
            continue
        ordered = np.sort(mine)
        for bits in lengths:
            shift = np.uint64(all_bits - bits)
            first, count = _most(ordered >> shift)
            if count >= least:
                return Prefix(version, int(first << shift), bits)
    return None


def _most(ordered: NDArray[Any]) -> tuple[np.uint64, int]:
    """The value that a sorted array holds most often, and how often."""
    edges = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    counts = np.diff(np.append(edges, len(ordered)))
    at = int(np.argmax(counts))
    return ordered[edges[at]], int(counts[at])
