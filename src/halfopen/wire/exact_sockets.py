"""Messages about sockets named exactly, by addresses, ports and cookie: SOCK_DESTROY, and single looks (inet_diag)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.sample import REQUEST
from halfopen.wire import netlink
from halfopen.wire.inet_diag import (
    HEAD_AT,
    INODE,
    IPPROTO_TCP,
    KIND,
    RECORD,
    REQUEST_KIND,
    SOCK_DESTROY,
    SOCK_DIAG_BY_FAMILY,
    TCP_SYN_RECV,
)

_ANSWER: Final = struct.Struct("=IH")
_DESTROY: Final = np.dtype(
    {
        "names": ["length", "type", "flags", "seq", "family", "protocol", "id"],
        "formats": ["<u4", "<u2", "<u2", "<u4", "u1", "u1", "V48"],
        "offsets": [0, 4, 6, 8, 16, 17, 24],
        "itemsize": 72,
    }
)
_ID: Final = np.dtype(
    {"names": ["family", "id"], "formats": ["u1", "V48"], "offsets": [0, 4], "itemsize": REQUEST.itemsize}
)


def _exact(requests: NDArray[Any], type_: int) -> bytes:
    """One message for each of N request sockets (dtype REQUEST), found by addresses, ports and cookie.

    No acknowledgement is requested. The sequence number of a message is its index plus one.
    """
    batch = np.zeros(len(requests), dtype=_DESTROY)
    batch["length"] = _DESTROY.itemsize
    batch["type"] = type_
    batch["flags"] = netlink.NLM_F_REQUEST
    batch["seq"] = np.arange(1, len(requests) + 1)
    view = np.ascontiguousarray(requests).view(_ID)
    batch["family"] = view["family"]
    batch["protocol"] = IPPROTO_TCP
    batch["id"] = view["id"]
    return batch.tobytes()


def destroy_requests(requests: NDArray[Any]) -> bytes:
    """SOCK_DESTROY messages for requests (N,) REQUEST. Only errors answer: see `destroy_errors`."""
    return _exact(requests, SOCK_DESTROY)


def look_requests(requests: NDArray[Any]) -> bytes:
    """Messages that ask for requests (N,) REQUEST one by one, each with an answer of its own: see `still_half_open`."""
    return _exact(requests, SOCK_DIAG_BY_FAMILY)


def still_half_open(data: bytearray, size: int) -> bytes | None:
    """The row (the bytes of a REQUEST) in the answer data[:size] if it is a request socket, otherwise None.

    A request that has completed is answered by the full socket that it became, which has the same cookie. If the socket
    is gone and was asked for without a cookie, its listener is the answer.
    """
    if size not in REQUEST_KIND or size > len(data):
        return None
    length, type_ = _ANSWER.unpack_from(data)
    if length != size or type_ != SOCK_DIAG_BY_FAMILY or data[HEAD_AT + 1] != TCP_SYN_RECV:
        return None
    (kind,) = (KIND if size > RECORD else INODE).unpack_from(data, RECORD - INODE.size)
    return bytes(data[HEAD_AT : HEAD_AT + REQUEST.itemsize]) if kind == REQUEST_KIND[size] else None


def rows(found: Sequence[bytes]) -> NDArray[Any]:
    """The rows that `still_half_open` returned, as (N,) REQUEST."""
    return np.frombuffer(b"".join(found), dtype=REQUEST)


def destroy_errors(data: memoryview) -> list[tuple[int, int]]:
    """(index, errno) of each refused message of a batch, from the kernel's answers. Raises: WireError."""
    errors = []
    for start, stop, type_, _, seq, _ in netlink.messages(data):
        if type_ == netlink.NLMSG_ERROR:
            code = netlink.error_code(data, start, stop)
            if code:
                errors.append((seq - 1, code))
    return errors
