"""A glance at other namespaces: which queues are full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halfopen.core.model.beside import full_queues
from halfopen.core.sample import QUEUES
from rows import listener


def _queues(*lengths: int, known: bool = True) -> Any:
    rows = np.zeros(len(lengths), dtype=QUEUES)
    rows["known"], rows["qlen"] = known, lengths
    return rows


@pytest.mark.parametrize(
    ("waiting", "length", "full"),
    [(0, 0, (False, False)), (8, 7, (False, False)), (9, 0, (True, False)), (0, 8, (False, True))],
)
def test_queues_of_one_listener_of_two(waiting: int, length: int, full: tuple[bool, bool]) -> None:
    """An accept queue takes one more than the backlog."""
    rows = np.concatenate([listener(limit=512), listener(port=81, limit=8, accept_queue=waiting)])
    assert full_queues(rows, _queues(0, length)) == full
    assert full_queues(rows, None) == (full[0], False)
    assert full_queues(rows, _queues(0, length, known=False)) == (full[0], False)


def test_nobody_listens() -> None:
    assert full_queues(np.concatenate([listener()])[:0], _queues()) == (False, False)
