"""The distinct values of an array, as numpy has them."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.model.distinct import distinct


@pytest.mark.parametrize("values", [[], [3], [3, 3], [5, 1, 5, 2, 1], [0, 2**63, 1, 2**63]])
def test_each_once_and_in_order(values: list[int]) -> None:
    numbers = np.array(values, dtype=np.uint64)
    found = distinct(numbers)
    assert found.tolist() == sorted(set(values))
    assert found.dtype == numbers.dtype
