"""The records of bpf/closing.bpf.c: sockets, and the addresses of IPv6 ones behind theirs."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.errors import WireError
from halfopen.core.sample.closing import SOCKET, WIDE
from halfopen.wire.bpf_records import SOCKET_WIDE, sockets

MORE = 128


def record(flags: int, remote: int = 0) -> bytes:
    row = np.zeros(1, dtype=SOCKET)
    row["flags"], row["remote"] = flags, remote
    return row.tobytes()


def addresses(last: int) -> bytes:
    row = np.zeros(1, dtype=SOCKET_WIDE)
    row["flags"], row["remote"] = MORE, bytes([*[0] * 15, last])
    return row.tobytes()


def test_sockets_of_both_families() -> None:
    data = record(0, 7) + record(WIDE) + addresses(1) + record(0, 9) + record(WIDE) + addresses(2)
    rows, wide = sockets(data)
    assert rows["remote"].tolist() == [7, 0, 9, 1]
    assert [bytes(one)[-1] for one in wide["remote"]] == [1, 2]
    rows, wide = sockets(record(0, 7))
    assert (rows["remote"].tolist(), len(wide)) == ([7], 0)
    assert [len(one) for one in sockets(b"")] == [0, 0]


@pytest.mark.parametrize(
    "data",
    [
        record(0)[:-1],
        addresses(1),
        record(0) + addresses(1),
        record(WIDE),
        record(WIDE) + record(0) + addresses(1),
        record(WIDE) + addresses(1) + addresses(2),
    ],
)
def test_damaged_records_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        sockets(data)
