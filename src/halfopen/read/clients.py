"""The known clients of a namespace: sources of established connections, and addresses that finished handshakes
recently.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import Unsupported
from halfopen.core.model.clients import KnownClients, source_numbers
from halfopen.core.model.distinct import distinct
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import peers, sockdiag
from halfopen.wire import inet_diag

# A dump of this many takes a second and 96 MB of netlink messages; with more, the clients are not read.
MOST: Final = 1_000_000


def read() -> KnownClients:
    """The clients of the calling thread's namespace, as of now.

    Raises: Unsupported (also with more than MOST established connections), NotPermitted, KernelError, WireError.
    """
    at_s = time.monotonic()
    lately = peers.read()
    return KnownClients(at_s, established(), lately)


def established() -> NDArray[np.uint64]:
    """The distinct sources of established connections, sorted, (E,). Raises: as `read`."""
    request = inet_diag.dump_request(1 << inet_diag.TCP_ESTABLISHED)
    found, count = [np.empty(0, dtype=np.uint64)], 0
    with open_sock_diag() as look:
        for data in sockdiag.receive(look, request):
            part = inet_diag.parse_sockets(data)
            sockdiag.check_dump(part.errno)
            found.append(distinct(source_numbers(part.heads)))
            count += len(part.heads)
            if count > MOST:
                raise Unsupported("clients", f"more than {MOST:,} connections are established: not all were looked at")
    return distinct(np.concatenate(found))
