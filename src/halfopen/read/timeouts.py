"""How often a request's timer ran out: /proc/net/tcp shows it, sock_diag does not.

sock_diag shows how often the SYN-ACK was retransmitted. The two differ for a client that retransmits its SYN, which is
answered each time (more retransmissions than timeouts), and for a deferred-accept request, which waits silently
(fewer).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError
from halfopen.core.model.timing import UNKNOWN
from halfopen.read import procfs

# /proc/net/tcp is text, which is slow to write and to parse: up to these numbers it takes some tens of milliseconds.
MAX_REQUESTS: Final = 4096
MAX_SOCKETS: Final = 4096
MAX_DUMP_S: Final = 0.05

Key = tuple[int, bytes, bytes, int, int]
Table = dict[Key, int]


def affordable(requests: int, dump_s: float) -> bool:
    """Whether reading /proc/net/tcp of the calling thread's namespace takes some tens of milliseconds at most.

    dump_s: how long a dump of these requests took: like /proc, it walks the hash that all namespaces share.
    """
    return requests <= MAX_REQUESTS and dump_s <= MAX_DUMP_S and procfs.sockets_in_use() <= MAX_SOCKETS


def key(row: Any) -> Key:
    """The key of a request (one row of dtype REQUEST) in both sources."""
    return (
        int(row["family"]),
        bytes(row["local_address"]),
        bytes(row["remote_address"]),
        int(row["local_port"]),
        int(row["remote_port"]),
    )


def read() -> Table:
    """The timeouts of the requests of the calling thread's namespace; empty if /proc does not show them."""
    try:
        rows, _, _ = procfs.sockets()
    except HalfopenError:
        return {}
    return {key(row): int(row["retransmits"]) for row in rows}


def look_up(table: Table, rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The timeouts of N requests (dtype REQUEST), UNKNOWN for those not in the table; shape (N,)."""
    return np.array([min(table.get(key(row), UNKNOWN), UNKNOWN) for row in rows], dtype=np.uint8)
