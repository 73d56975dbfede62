"""What a connection that is open or closing waits for, told by its own signature and not by how many there are."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    MINI,
    ORPHAN,
    PROBE,
    RETRANSMIT,
    SYN_SENT,
    TIME_WAIT,
)


class Signature(IntEnum):
    """The signature of a socket; `name` in lower case, with hyphens, is what people and programs see."""

    ACTIVE = 0
    IDLE = 1
    UNACCEPTED = 2
    UNREAD = 3
    PEER_NOT_READING = 4
    PEER_SILENT = 5
    CONNECTING = 6
    END_READ = 7
    END_UNREAD = 8
    DATA_UNREAD = 9
    STILL_SENDING = 10
    HELD = 11
    ORPHANED = 12
    RETRYING = 13
    WAITING = 14

    @property
    def word(self) -> str:
        """The name as it is shown."""
        return self.name.lower().replace("_", "-")


# Shorter than this between two segments, and a connection is in use.
IDLE_S: Final = 10.0
# A program that reads at all never leaves so much for so long.
_MUCH_UNREAD: Final = 16 * 1024
_LEFT_S: Final = 5.0
# The fourth retransmission leaves after more than 3 s at the least RTO of 200 ms: no path is that slow.
SILENT_RETRANSMITS: Final = 4
# A zero window that lasts shorter is usual.
_PROBED_S: Final = 2.0


def signatures(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The `Signature` of N sockets (dtype SOCKET), (N,).

    A socket without an inode that is no orphan waits for accept(). In CLOSE_WAIT `unread` counts a FIN that was not
    read as one byte; with 0 the end was read, if only together with the last data (`tcp_recvmsg_locked()`).
    """
    state, flags, unread = rows["state"], rows["flags"], rows["unread"]
    found = np.full(len(rows), Signature.ACTIVE, dtype=np.uint8)
    is_full = flags & MINI == 0
    quiet_ms = np.minimum(rows["received_ms"], rows["sent_ms"])

    def mark(which: NDArray[np.bool_], kind: Signature) -> None:
        found[which] = kind

    open_ = state == ESTABLISHED
    mark(open_ & (quiet_ms >= IDLE_S * 1000), Signature.IDLE)
    # Probes are counted up while they are not answered (icsk_probes_out).
    probed = open_ & (rows["timer"] == PROBE)
    mark(probed & (rows["received_ms"] >= _PROBED_S * 1000), Signature.PEER_NOT_READING)
    mark(open_ & (unread >= _MUCH_UNREAD) & (rows["received_ms"] >= _LEFT_S * 1000), Signature.UNREAD)
    retried = (rows["timer"] == RETRANSMIT) & (rows["retransmits"] >= SILENT_RETRANSMITS)
    mark(open_ & retried, Signature.PEER_SILENT)
    mark(probed & (rows["probes"] >= SILENT_RETRANSMITS), Signature.PEER_SILENT)
    closed = state == CLOSE_WAIT
    mark(closed & (unread == 0), Signature.END_READ)
    # An answer leaves after what it answers came; a request does not.
    answers = (rows["sent_ms"] < IDLE_S * 1000) & (rows["sent_ms"] < rows["received_ms"])
    mark(closed & (unread == 0) & answers, Signature.STILL_SENDING)
    mark(closed & (unread == 1), Signature.END_UNREAD)
    mark(closed & (unread > 1), Signature.DATA_UNREAD)
    orphan = (flags & ORPHAN != 0) | ~is_full
    mark((open_ | closed) & (rows["inode"] == 0) & ~orphan, Signature.UNACCEPTED)
    mark((state == FIN_WAIT2) & ~orphan, Signature.HELD)
    mark((state == FIN_WAIT2) & orphan, Signature.ORPHANED)
    mark((state == FIN_WAIT1) | (state == LAST_ACK) | (state == CLOSING), Signature.RETRYING)
    mark(state == TIME_WAIT, Signature.WAITING)
    mark(state == SYN_SENT, Signature.CONNECTING)
    return found
