"""The rows of request sockets, as the kernel reports them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

# The first 56 bytes of the kernel's inet_diag_msg, as they come: one copy per record, and SOCK_DESTROY takes them back.
# IPv4 addresses stand in the first four bytes. `local_v4`, `remote_high` … overlap the addresses for quick arithmetic.
REQUEST: Final[np.dtype[Any]] = np.dtype(
    {
        "names": [
            "family",
            "state",
            "timer",
            "retransmits",
            "local_port",
            "remote_port",
            "local_address",
            "remote_address",
            "ifindex",
            "cookie",
            "expires_ms",
            "local_high",
            "local_low",
            "local_v4",
            "remote_v4",
            "remote_high",
            "remote_low",
        ],
        "formats": [
            "u1",
            "u1",
            "u1",
            "u1",
            ">u2",
            ">u2",
            "V16",
            "V16",
            "<u4",
            "<u8",
            "<u4",
            ">u8",
            ">u8",
            ">u4",
            ">u4",
            ">u8",
            ">u8",
        ],
        "offsets": [0, 1, 2, 3, 4, 6, 8, 24, 40, 44, 52, 8, 16, 8, 24, 24, 32],
        "itemsize": 56,
    }
)
