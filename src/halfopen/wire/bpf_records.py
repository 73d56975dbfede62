"""What our eBPF programs write (bpf/events.h), as numpy records. Checked against the objects' BTF when they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.wire.netlink import WireError

PULSE: Final[np.dtype[Any]] = np.dtype(
    [
        ("cookie", "<u8"),
        ("address", "V16"),
        ("netns", "<u4"),
        ("uid", "<u4"),
        ("ifindex", "<i4"),
        ("qlen", "<i4"),
        ("young", "<i4"),
        ("accept_queue", "<u4"),
        ("accept_queue_limit", "<u4"),
        ("fastopen_qlen", "<i4"),
        ("port", "<u2"),
        ("family", "u1"),
        ("syn_retries", "u1"),
        ("defer_accept", "u1"),
        ("padding", "V3"),
    ]
)
_CENSUS: Final = [
    ("kind", "u1"),
    ("retransmits", "u1"),
    ("timeouts", "u1"),
    ("flags", "u1"),
    ("remote_port", ">u2"),
    ("local_port", "<u2"),
    ("sent", "<u4"),
    ("expires_jiffies", "<i4"),
]
CENSUS_SHORT: Final[np.dtype[Any]] = np.dtype([*_CENSUS, ("remote", ">u4"), ("local", ">u4")])
CENSUS_LONG: Final[np.dtype[Any]] = np.dtype([*_CENSUS, ("remote", "V16"), ("local", "V16"), ("ifindex", "<i4")])
# The unit of `sent`.
SENT_US: Final = 64
ACKED: Final = 1
NOT_SENT: Final = 2
_SHORT_KIND: Final = 2
LONG: Final = 0x80
_LONG_KINDS: Final = (10, 2 | LONG)


def pulses(data: bytes | memoryview) -> NDArray[Any]:
    """The records of a pulse, (L,) PULSE. Raises: WireError."""
    if len(data) % PULSE.itemsize:
        raise WireError(f"a pulse of {len(data)} bytes is no whole number of records")
    return np.frombuffer(data, dtype=PULSE)


def census(data: memoryview) -> Iterator[NDArray[Any]]:
    """The records of a stretch of a census, in runs of one form: (n,) CENSUS_SHORT or CENSUS_LONG, views of `data`.

    Raises: WireError.
    """
    at, end = 0, len(data)
    while at < end:
        dtype = CENSUS_SHORT if data[at] == _SHORT_KIND else CENSUS_LONG
        if dtype is CENSUS_LONG and data[at] not in _LONG_KINDS:
            raise WireError(f"a census record of unknown kind {data[at]}")
        most = (end - at) // dtype.itemsize
        if not most:
            raise WireError("a census record is cut short")
        rows = np.frombuffer(data, dtype=dtype, count=most, offset=at)
        is_short = rows["kind"] == _SHORT_KIND
        same = (
            is_short if dtype is CENSUS_SHORT else (rows["kind"] == _LONG_KINDS[0]) | (rows["kind"] == _LONG_KINDS[1])
        )
        count = most if same.all() else int(np.argmin(same))
        yield rows[:count]
        at += count * dtype.itemsize
