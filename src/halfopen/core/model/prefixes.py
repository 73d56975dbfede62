"""Prefixes of sources that are numbers: an IPv4 address, or the first 64 bits of an IPv6 address."""

from __future__ import annotations

import ipaddress
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

# Addresses as numbers of 64 bits, or of 32 if all are IPv4.
Numbers = NDArray[np.unsignedinteger[Any]]

# An IPv6 address below ::1:0:0:0:0 would look like an IPv4 address; none of them is routed.
_V4_NUMBERS: Final = np.uint64(2**32)
# Shorter prefixes stand for no network that could be named.
_V4_BITS: Final = (32, 28, 24, 20, 16)
_V6_BITS: Final = (64, 60, 56, 52, 48)


def networks(numbers: Numbers) -> NDArray[np.uint64]:
    """The networks of N sources as numbers, (N,): of an IPv4 address its /24, of an IPv6 one its /48."""
    found = numbers.astype(np.uint64)
    return np.where(is_v4(numbers), found >> np.uint64(8), found >> np.uint64(16) << np.uint64(16))


def is_v4(numbers: Numbers) -> NDArray[np.bool_]:
    """Which of N sources are IPv4 addresses, (N,)."""
    if numbers.dtype.itemsize == 4:
        return np.ones(len(numbers), dtype=bool)
    found: NDArray[np.bool_] = numbers < _V4_NUMBERS
    return found


class Prefix(Struct, frozen=True):
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

    def contains(self, other: Prefix) -> bool:
        """Whether the other one is a part of this one, or the same."""
        return self.version == other.version and self.bits <= other.bits and other.wider(self.bits) == self

    def holds(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which of N sources lie within, (N,)."""
        if self.version == 6 and numbers.dtype.itemsize == 4:
            return np.zeros(len(numbers), dtype=bool)
        # A shift by all bits is none at all.
        shift = min((32 if self.version == 4 else 64) - self.bits, 8 * numbers.dtype.itemsize - 1)
        kind = numbers.dtype.type
        inside: NDArray[np.bool_] = numbers >> kind(shift) == kind(self.number >> shift)
        inside &= is_v4(numbers) == (self.version == 4)
        return inside


def narrowest(numbers: Numbers, share: float) -> Prefix | None:
    """The narrowest prefix that holds at least this share of the sources numbers (N,), repetitions counted.

    share: above 0.5, so that the prefix holds the median. None: they are too far apart for a prefix, or there are
    none.
    """
    least = share * len(numbers)
    v4 = is_v4(numbers)
    for version, is_mine, lengths, all_bits in ((4, v4, _V4_BITS, 32), (6, ~v4, _V6_BITS, 64)):
        mine = numbers if is_mine.all() else numbers[is_mine]
        if not len(mine) or len(mine) < least:
            continue
        kind, middle = mine.dtype.type, int(np.partition(mine, len(mine) // 2)[len(mine) // 2])
        for bits in lengths:
            shift = all_bits - bits
            if np.count_nonzero(mine >> kind(shift) == kind(middle >> shift)) >= least:
                return Prefix(version, middle >> shift << shift, bits)
    return None
