"""Arrays that grow while the kernel is read."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_FIRST: Final = 4096


def plain(rows: NDArray[Any]) -> NDArray[Any]:
    """The same rows (N,) as bytes without fields: numpy copies rows with fields one by one, thirty times as slowly."""
    return rows.view(f"V{rows.dtype.itemsize}") if rows.dtype.names and not rows.dtype.hasobject else rows


class Growing:
    """An array that grows in place: realloc moves large blocks by remapping pages, so no element is held twice.

    room: elements that are expected. What is not used of it costs nothing, while each growth fills with zeros.
    """

    def __init__(self, dtype: Any, room: int = 0) -> None:
        self.array = np.empty(room, dtype=dtype)
        self.count = 0

    def add(self, values: NDArray[Any]) -> None:
        """Append n values (n,)."""
        need = self.count + len(values)
        if need > len(self.array):
            self.array.resize(max(need, len(self.array) * 3 // 2, _FIRST), refcheck=False)
        if values.dtype == self.array.dtype:
            plain(self.array)[self.count : need] = plain(values)
        else:
            self.array[self.count : need] = values
        self.count = need

    @property
    def kept(self) -> NDArray[Any]:
        """The elements added so far, (count,); valid until more are added."""
        return self.array[: self.count]

    def clear(self) -> None:
        """Forget all elements; the room stays."""
        self.count = 0

    def take(self) -> NDArray[Any]:
        """The elements, (count,); none can be added afterwards."""
        self.array.resize(self.count, refcheck=False)
        return self.array
