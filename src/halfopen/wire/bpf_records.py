"""The records of our eBPF programs (bpf/events.h) as numpy dtypes, compared with the objects' BTF at each load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import WireError
from halfopen.core.sample import PULSE, handshakes
from halfopen.core.sample.closing import ADDRESSES, SOCKET, WIDE
from halfopen.core.sample.growing import plain

_CENSUS: Final = [
    ("kind", "u1"),
    ("retransmits", "u1"),
    ("timeouts", "u1"),
    ("flags", "u1"),
    ("remote_port", ">u2"),
    ("local_port", "<u2"),
    ("sent", "<u4"),
    ("expires_jiffies", "<i4"),
    ("chain", "<u4"),
]
CENSUS_SHORT: Final[np.dtype[Any]] = np.dtype([*_CENSUS, ("remote", ">u4"), ("local", ">u4")])
CENSUS_LONG: Final[np.dtype[Any]] = np.dtype([*_CENSUS, ("remote", "V16"), ("local", "V16"), ("ifindex", "<i4")])
CENSUS_NAMED: Final[np.dtype[Any]] = np.dtype(
    [*_CENSUS, ("remote", "V16"), ("local", "V16"), ("ifindex", "<i4"), ("cookie", "<u8")]
)
# The unit of `sent`, us.
SENT_US: Final = 64
ACKED: Final = 1
NOT_SENT: Final = 2
_SHORT_KIND: Final = 2
LONG: Final = 0x80
NAMED: Final = 0x40
_FORMS: Final = {
    _SHORT_KIND: CENSUS_SHORT,
    10: CENSUS_LONG,
    2 | LONG: CENSUS_LONG,
    2 | NAMED: CENSUS_NAMED,
    10 | NAMED: CENSUS_NAMED,
}
# The size of a record by its first byte; 0: there is no such record.
_SIZE_OF: Final = np.array([_FORMS[k].itemsize if k in _FORMS else 0 for k in range(256)], dtype=np.uint8)


SOCKET_WIDE: Final[np.dtype[Any]] = np.dtype(
    [("state", "u1"), ("flags", "u1"), ("padding", "V14"), ("remote", "V16"), ("local", "V16"), ("rest", "V16")]
)
_MORE: Final = 128
ACTED: Final[np.dtype[Any]] = np.dtype(
    [
        ("cookie", "<u8"),
        *((name, "u1") for name in ("state", "keepalive", "probes", "padding")),
        *((name, "<u4") for name in ("idle", "interval", "user_timeout_ms", "reserved", "quiet")),
    ]
)
MEANT: Final[np.dtype[Any]] = np.dtype(
    [
        (name, "<u4")
        for name in ("state", "unread", "keepalive", "idle_s", "interval_s", "probes", "user_timeout_ms", "padding")
    ]
)


def sockets(data: bytes | memoryview) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sockets in the output of bpf/closing.bpf.c, (N,) SOCKET, a view if all are IPv4; and the addresses of the
    IPv6 ones, (M,) ADDRESSES: the `remote` of such a socket is its index there.

    Raises: WireError.
    """
    size = SOCKET.itemsize
    if len(data) % size:
        raise WireError(f"sockets of {len(data)} bytes are no whole number of records")
    raw = np.frombuffer(data, dtype=SOCKET)
    is_more, is_wide = raw["flags"] & _MORE != 0, raw["flags"] & (_MORE | WIDE) == WIDE
    if not is_more.any() and not is_wide.any():
        return raw, np.empty(0, dtype=ADDRESSES)
    at = np.flatnonzero(is_more)
    if np.count_nonzero(is_wide) != len(at) or not at[0] or not is_wide[at - 1].all():
        raise WireError("a socket without its addresses, or addresses without their socket")
    more = plain(raw)[is_more].view(SOCKET_WIDE)
    wide = np.empty(len(more), dtype=ADDRESSES)
    wide["remote"], wide["local"] = more["remote"], more["local"]
    rows = plain(raw)[~is_more].view(SOCKET)
    rows["remote"][rows["flags"] & WIDE != 0] = np.arange(len(wide))
    return rows, wide


HOLDER: Final[np.dtype[Any]] = np.dtype([("inode", "<u8"), ("pid", "<u4"), ("fd", "<u4")])


def holders(data: bytes | memoryview) -> NDArray[Any]:
    """The records of a look for owners, (n,) HOLDER. Raises: WireError."""
    if len(data) % HOLDER.itemsize:
        raise WireError(f"a look for owners of {len(data)} bytes is no whole number of records")
    return np.frombuffer(data, dtype=HOLDER)


def pulses(data: bytes | memoryview) -> NDArray[Any]:
    """The records of a pulse, (L,) PULSE. Raises: WireError."""
    if len(data) % PULSE.itemsize:
        raise WireError(f"a pulse of {len(data)} bytes is no whole number of records")
    return np.frombuffer(data, dtype=PULSE)


def census(data: memoryview) -> Iterator[NDArray[Any]]:
    """The records of a stretch of a census, in runs of one form: (n,) CENSUS_SHORT, CENSUS_LONG or CENSUS_NAMED, views
    of `data`.

    Raises: WireError.
    """
    at, end = 0, len(data)
    while at < end:
        dtype = _FORMS.get(data[at])
        if dtype is None:
            raise WireError(f"a census record of unknown kind {data[at]}")
        most = (end - at) // dtype.itemsize
        if not most:
            raise WireError("a census record is cut short")
        rows = np.frombuffer(data, dtype=dtype, count=most, offset=at)
        same = _SIZE_OF[rows["kind"]] == dtype.itemsize
        count = most if same.all() else int(np.argmin(same))
        yield rows[:count]
        at += count * dtype.itemsize


HANDSHAKE_KEY: Final[np.dtype[Any]] = np.dtype(
    [
        ("netns", "<u4"),
        ("ifindex", "<i4"),
        ("address", "V16"),
        ("port", "<u2"),
        ("family", "u1"),
        ("ipv4", "u1"),
    ]
)
HANDSHAKE_COUNTERS: Final[np.dtype[Any]] = np.dtype(
    [
        ("times", "<u8", (handshakes.BUCKETS,)),
        ("later", "<u8", (len(handshakes.TIMERS_S),)),
        ("by_retransmits", "<u8", (handshakes.RETRANSMITS,)),
        ("untimed", "<u8"),
        ("approximate", "<u8"),
        ("sum_us", "<u8"),
        ("max_us", "<u8"),
        ("synack_retransmits", "<u8"),
        ("arrivals", "<u8"),
        ("given_up", "<u8"),
    ]
)
HANDSHAKE_CPU: Final[np.dtype[Any]] = np.dtype([("from_cookie", "<u8"), ("unfit", "<u8")])


ARRIVALS_COUNTERS: Final[np.dtype[Any]] = np.dtype(
    [(name, "<u8") for name in ("syns", "repeats", "acks", "resets", "finished", "late", "no_timestamps")]
)
SOURCE_KEY: Final[np.dtype[Any]] = np.dtype(
    [("netns", "<u4"), ("port", "<u2"), ("ipv4", "u1"), ("padding", "V1"), ("source", "V8")]
)
SOURCE_COUNTERS: Final[np.dtype[Any]] = np.dtype(
    [
        *((name, "<u4") for name in ("syns", "repeats", "acks", "resets", "finished", "late", "timed", "ifindex")),
        ("sum_us", "<u8"),
        ("local", "V16"),
    ]
)


def handshake_counters(per_cpu: NDArray[Any]) -> NDArray[Any]:
    """The counters of K keys on C CPUs, (K, C) HANDSHAKE_COUNTERS, summed over the CPUs: (K,)."""
    total = np.zeros(len(per_cpu), dtype=HANDSHAKE_COUNTERS)
    for name in HANDSHAKE_COUNTERS.names or ():
        over = per_cpu[name]
        total[name] = over.max(axis=1, initial=0) if name == "max_us" else over.sum(axis=1)
    return total
