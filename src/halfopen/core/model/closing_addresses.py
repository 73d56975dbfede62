"""The addresses of open and closing connections: as text, and as numbers to compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET, AF_INET6
from halfopen.core.sample.closing import WIDE, OpenSockets
from halfopen.core.units import address_text


def remote_text(sockets: OpenSockets, at: int) -> str:
    """The remote address of a socket, by its place."""
    return _address(sockets, at, "remote")


def local_text(sockets: OpenSockets, at: int) -> str:
    """The local address of a socket, by its place."""
    return _address(sockets, at, "local")


def _address(sockets: OpenSockets, at: int, side: str) -> str:
    row = sockets.rows[at]
    if row["flags"] & WIDE:
        return address_text(AF_INET6, bytes(sockets.wide[side][row["remote"]]))
    return address_text(AF_INET, int(row[side]).to_bytes(4, "big"))


def peer_ids(sockets: OpenSockets) -> NDArray[np.uint64]:
    """A number for the remote address of each of N sockets, equal where the addresses are, (N,)."""
    ids: NDArray[np.uint64] = sockets.rows["remote"].astype(np.uint64)
    is_wide = sockets.rows["flags"] & WIDE != 0
    if is_wide.any():
        halves = np.ascontiguousarray(sockets.wide["remote"]).view(">u8").reshape(-1, 2)
        _, low = np.unique(halves[:, 1], return_inverse=True)
        _, high = np.unique(halves[:, 0], return_inverse=True)
        _, number = np.unique(high.astype(np.uint64) << np.uint64(32) | low.astype(np.uint64), return_inverse=True)
        ids[is_wide] = number[sockets.rows["remote"][is_wide]].astype(np.uint64) | np.uint64(1 << 40)
    return ids
