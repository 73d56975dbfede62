"""Sockets that are open or closing, from an inet_diag dump with INFO and SKMEMINFO."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6, V4_MAPPED
from halfopen.core.errors import WireError
from halfopen.core.sample import REQUEST
from halfopen.core.sample.closing import ADDRESSES, KEEPALIVE, KEEPALIVE_TIMER, MINI, ORPHAN, SENT, SOCKET, V6, WIDE
from halfopen.wire import netlink
from halfopen.wire.inet_diag import (
    HEAD_AT,
    INET_DIAG_SKMEMINFO,
    RECORD,
    SOCK_DIAG_BY_FAMILY,
    TCPDIAG_GETSOCK,
)

INET_DIAG_INFO: Final = 2
EXTENSIONS: Final = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1)
# The fields of inet_diag_msg after expires_ms, the last one of REQUEST.
_TAIL: Final = np.dtype([("unread", "<u4"), ("unacked", "<u4"), ("uid", "<u4"), ("inode", "<u4")])
_MEMORY: Final = np.dtype([(n, "<u4") for n in ("rmem", "rcvbuf", "wmem", "sndbuf", "forward", "queued")])
# Offsets in struct tcp_info (include/uapi/linux/tcp.h).
_INFO_AT: Final = {"probes": (3, "u1"), "sent_ms": (44, "<u4"), "received_ms": (52, "<u4"), "heard_ms": (56, "<u4")}
_BYTES_RECEIVED_AT: Final = 128
_SEGMENTS_SENT_AT: Final = 156
_STATE_FIN_WAIT1, _STATE_LAST_ACK, _STATE_CLOSING = 4, 9, 11


class DiagSlice(Struct):
    """One stretch of a dump: rows (n,) SOCKET, wide (m,) ADDRESSES of the IPv6 ones. done, interrupted, errno: as in
    `inet_diag.Slice`.
    """

    rows: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=SOCKET))
    wide: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=ADDRESSES))
    done: bool = False
    interrupted: bool = False
    errno: int = 0


def parse_sockets(data: memoryview, page_size: int) -> DiagSlice:
    """Parse a stretch of a dump requested with EXTENSIONS. Raises: WireError if the bytes are not such messages."""
    result = DiagSlice()
    by_length: dict[int, list[int]] = {}
    for start, stop, type_, flags, _, _ in netlink.messages(data):
        result.interrupted |= bool(flags & netlink.NLM_F_DUMP_INTR) or type_ == netlink.NLMSG_OVERRUN
        if type_ in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
            result.done, result.errno = True, netlink.error_code(data, start, stop)
            break
        if type_ in (TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY):
            if stop - start < RECORD:
                raise WireError(f"inet_diag record of {stop - start} bytes", start)
            by_length.setdefault(stop - start, []).append(start)
    parts, wides = [result.rows], [result.wide]
    for length, starts in by_length.items():
        rows, wide = _rows(data, starts, length, page_size)
        rows["remote"][rows["flags"] & WIDE != 0] += sum(map(len, wides))
        parts.append(rows)
        wides.append(wide)
    result.rows, result.wide = np.concatenate(parts), np.concatenate(wides)
    return result


def _rows(data: memoryview, starts: list[int], length: int, page_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The sockets of messages of equal length, which therefore have the same attributes at the same offsets."""
    raw = np.frombuffer(data, dtype=np.uint8)[np.array(starts)[:, None] + np.arange(length)]
    head = np.ascontiguousarray(raw[:, HEAD_AT : HEAD_AT + REQUEST.itemsize]).view(REQUEST)[:, 0]
    tail = np.ascontiguousarray(raw[:, RECORD - _TAIL.itemsize : RECORD]).view(_TAIL)[:, 0]
    rows = np.zeros(len(starts), dtype=SOCKET)
    for name in ("state", "timer", "retransmits", "local_port", "remote_port", "cookie", "expires_ms"):
        rows[name] = head[name]
    for name in _TAIL.names or ():
        rows[name] = tail[name]
    places = {
        kind: (at - starts[0], n)
        for kind, at, n in netlink.attribute_places(data, starts[0] + RECORD, starts[0] + length)
    }
    if INET_DIAG_INFO in places:
        _info(rows, raw, *places[INET_DIAG_INFO])
    else:
        rows["flags"] |= MINI
    if INET_DIAG_SKMEMINFO in places:
        at, _ = places[INET_DIAG_SKMEMINFO]
        held = np.ascontiguousarray(raw[:, at : at + _MEMORY.itemsize]).view(_MEMORY)[:, 0]
        total = held["rmem"].astype(np.int64) + held["queued"] + held["forward"]
        rows["pages"] = np.minimum(total // page_size, 0xFFFF)
    # An approximation: a socket that waits for accept() has no inode either.
    orphaned = (rows["inode"] == 0) & np.isin(rows["state"], (_STATE_FIN_WAIT1, _STATE_LAST_ACK, _STATE_CLOSING))
    rows["flags"][orphaned] |= ORPHAN
    # inet_diag shows one timer only: keepalive is hidden while another one is pending.
    rows["flags"][rows["timer"] == KEEPALIVE_TIMER] |= KEEPALIVE
    return rows, _addresses(rows, head)


def _info(rows: NDArray[Any], raw: NDArray[np.uint8], at: int, size: int) -> None:
    for name, (place, kind) in _INFO_AT.items():
        width = np.dtype(kind).itemsize
        if place + width <= size:
            rows[name] = np.ascontiguousarray(raw[:, at + place : at + place + width]).view(kind)[:, 0]
    if size >= _BYTES_RECEIVED_AT + 4:
        where = at + _BYTES_RECEIVED_AT
        rows["bytes_received"] = np.ascontiguousarray(raw[:, where : where + 4]).view("<u4")[:, 0]
    sent: NDArray[np.bool_] = np.ones(len(rows), dtype=bool)
    if size >= _SEGMENTS_SENT_AT + 4:
        sent = np.asarray(raw[:, at + _SEGMENTS_SENT_AT : at + _SEGMENTS_SENT_AT + 4].any(axis=1))
    rows["flags"][sent] |= SENT


def _addresses(rows: NDArray[Any], head: NDArray[Any]) -> NDArray[Any]:
    is_v6 = head["family"] == AF_INET6
    rows["flags"][is_v6] |= V6
    mapped = (head["remote_high"] == 0) & (head["remote_low"] >> 32 == int.from_bytes(V4_MAPPED[8:], "big"))
    is_wide = is_v6 & ~mapped
    rows["flags"][is_wide] |= WIDE
    for side in ("remote", "local"):
        low = (head[f"{side}_low"] & 0xFFFFFFFF).astype(np.uint32)
        rows[side] = np.where(is_v6, low, head[f"{side}_v4"])
    wide = np.empty(int(np.count_nonzero(is_wide)), dtype=ADDRESSES)
    wide["remote"], wide["local"] = head["remote_address"][is_wide], head["local_address"][is_wide]
    rows["remote"][is_wide], rows["local"][is_wide] = np.arange(len(wide)), 0
    return wide
