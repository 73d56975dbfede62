"""Small numbers for large keys, for keys of which many are equal."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_PLACES: Final = 1 << 18
# So few are sorted before a table is empty.
_FEW: Final = 1 << 14
_SHIFT: Final = np.uint64(64 - 18)
# 2^64 divided by the golden ratio, made odd (Knuth): neighbours come to lie far apart.
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)


def numbered(keys: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Of N keys: a number for each from 0 on, in the order of the keys and equal where they are, (N,); and the first
    place of each of the K numbers, (K,).

    As `np.unique`, which sorts them all. Where no two different keys fall onto one place of a table, as is usual of up
    to a hundred, only the different ones are sorted, and the numbers are small enough to be sorted by their digits.
    """
    if len(keys) < _FEW:
        return _sorted(keys)
    places = ((keys * _SPREAD) >> _SHIFT).astype(np.int32)
    first = np.full(_PLACES, -1, dtype=np.int32)
    first[places[::-1]] = np.arange(len(keys) - 1, -1, -1, dtype=np.int32)
    taken = np.flatnonzero(first >= 0)
    if len(taken) > np.iinfo(np.uint16).max or (keys[first[places]] != keys).any():
        return _sorted(keys)
    at = first[taken][np.argsort(keys[first[taken]])]
    number = np.zeros(_PLACES, dtype=np.uint16)
    number[places[at]] = np.arange(len(at), dtype=np.uint16)
    return number[places], at.astype(np.intp)


def _sorted(keys: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """For keys (N,): the number of each key's value, (N,), and the first place of each value, (K,), by sorting."""
    _, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
    return numbers, first
