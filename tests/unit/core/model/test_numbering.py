"""Numbers for keys: as np.unique gives them, by whatever way."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.model.numbering import numbered

_RANDOM = np.random.default_rng(15)
_LARGE = np.iinfo(np.uint64).max


@pytest.mark.parametrize("n", [0, 1, 20_000])
@pytest.mark.parametrize("different", [1, 30, 3000, 200_000])
def test_as_unique_numbers_them(n: int, different: int) -> None:
    """Few keys of many go by the table, many different ones and few at all are sorted; each gives the same."""
    of = _RANDOM.integers(0, _LARGE, different, dtype=np.uint64, endpoint=True)
    keys = of[_RANDOM.integers(0, different, n)]
    _, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
    ours, at = numbered(keys)
    assert (ours == numbers).all()
    assert (at == first).all()


def test_many_of_few_are_sorted_by_digits() -> None:
    """numpy sorts numbers of 16 bits by their digits, in a tenth of the time."""
    numbers, _ = numbered(_RANDOM.integers(0, 50, 20_000).astype(np.uint64))
    assert numbers.dtype == np.uint16
