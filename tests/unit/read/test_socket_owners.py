"""From inodes of sockets to places among descriptors."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.read.socket_owners import places
from halfopen.wire.bpf_records import HOLDER


@pytest.mark.parametrize("far", [0, 4_000_000_000], ids=["close together", "far apart"])
def test_the_lowest_process_that_holds_a_socket_is_found(far: int) -> None:
    held = [(7, 40, 3), (9, 40, 4), (7, 12, 5), (8, 12, 6), (far or 10, 99, 7), (9, 41, 8)]
    rows = np.array(held, dtype=HOLDER)
    inodes = np.array([9, 7, 0, 6, 11, 8, far or 10, 7], dtype=np.uint32)
    assert places(rows, inodes).tolist() == [1, 2, -1, -1, -1, 3, 4, 2]


def test_a_socket_that_a_process_holds_twice_has_its_first_descriptor() -> None:
    rows = np.array([(7, 40, 3), (7, 40, 9)], dtype=HOLDER)
    assert places(rows, np.array([7], dtype=np.uint32)).tolist() == [0]
