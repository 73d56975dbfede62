"""The part about request sockets, one row each as the kernel reports them, and what takes them while they are read."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.core.sample.growing import Growing

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


class Requests(Struct, frozen=True, eq=False):
    """The request sockets of a namespace in SYN_RECV, deferred-accept ones included.

    rows: (N,) REQUEST; empty where only a `Taker` was to see them. count: how many were read, kept or not. full:
    sockets in true SYN_RECV (Fast Open, simultaneous open), which are no request sockets. timeouts: (N,) uint8, how
    often the timer of each ran out, 255 where unknown; None when /proc/net/tcp was not asked. ages_s (N,), acked (N,):
    how old each is and whether its last ACK came, as the kernel itself says (eBPF); None where it did not say. took_s:
    how long they took to read: ages by eBPF are as of the beginning, all else was read at most so much later.
    """

    rows: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=REQUEST))
    count: int = 0
    full: int = 0
    timeouts: NDArray[np.uint8] | None = None
    ages_s: NDArray[np.float32] | None = None
    acked: NDArray[np.bool_] | None = None
    took_s: float = 0.0


class Taker(Protocol):
    """Takes request sockets while they are read, so that their rows need not be kept."""

    def begin(self, listeners: NDArray[Any], expected: int = 0) -> None:
        """A look at the request sockets of these L listeners (dtype LISTENER) begins; forget an earlier one.

        expected: about how many there will be, where that is known.
        """

    def add(
        self,
        requests: NDArray[Any],
        *,
        timeouts: NDArray[np.uint8] | None = None,
        ages_s: NDArray[np.float32] | None = None,
        acked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take n requests (dtype REQUEST), which the next call overwrites; the others (n,) as in `Requests`."""


class Rows:
    """The Taker that keeps all of it, 56 to 61 bytes a request."""

    def __init__(self) -> None:
        self.begin(np.empty(0))

    def begin(self, listeners: NDArray[Any], expected: int = 0) -> None:
        """As `Taker.begin`."""
        self._rows = Growing(REQUEST, expected)
        self._beside: dict[str, Growing] = {}

    def add(
        self,
        requests: NDArray[Any],
        *,
        timeouts: NDArray[np.uint8] | None = None,
        ages_s: NDArray[np.float32] | None = None,
        acked: NDArray[np.bool_] | None = None,
    ) -> None:
        """As `Taker.add`."""
        self._rows.add(requests)
        for name, column in (("timeouts", timeouts), ("ages_s", ages_s), ("acked", acked)):
            if column is not None:
                self._beside.setdefault(name, Growing(column.dtype)).add(column)

    def __len__(self) -> int:
        return self._rows.count

    def take(self, full: int = 0) -> Requests:
        """The part; nothing can be added afterwards."""
        rows = self._rows.take()
        beside: dict[str, Any] = {name: column.take() for name, column in self._beside.items()}
        return Requests(rows, len(rows), full, **beside)
