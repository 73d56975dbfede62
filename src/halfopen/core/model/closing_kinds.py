"""What a connection that is open or closing waits for, told by its own signature and not by how many there are."""

from __future__ import annotations

from collections.abc import Callable
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
    SENT,
    STATES,
    SYN_SENT,
    TIME_WAIT,
    columns,
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
# Data that came this shortly before the FIN came with it; what is sent this shortly after data may belong to it.
_FAREWELL_MS: Final = 200
_A_WHILE_MS: Final = 1000
# A zero window that lasts shorter is usual.
_PROBED_S: Final = 2.0


def signatures(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The `Signature` of N sockets (dtype SOCKET), (N,).

    A socket without an inode that is no orphan waits for accept(). In CLOSE_WAIT `unread` counts a FIN that was not
    read as one byte; with 0 the end was read, if only together with the last data (`tcp_recvmsg_locked()`).
    """
    state, flags, unread, inode = columns(rows, "state", "flags", "unread", "inode")
    received_ms, sent_ms = columns(rows, "received_ms", "sent_ms")
    there = np.bincount(state, minlength=STATES)
    found = np.full(len(rows), Signature.ACTIVE, dtype=np.uint8)
    orphan = flags & (ORPHAN | MINI) != 0

    def mark(which: NDArray[np.bool_], kind: Signature) -> None:
        found[which] = kind

    if there[ESTABLISHED]:
        open_ = state == ESTABLISHED
        mark(open_ & (np.minimum(received_ms, sent_ms) >= IDLE_S * 1000), Signature.IDLE)
        _mark_waiting(rows, open_, received_ms, unread, mark)
    if there[CLOSE_WAIT]:
        closed = state == CLOSE_WAIT
        mark(closed & (unread == 0), Signature.END_READ)
        # An answer leaves after what it answers came; a request does not.
        answers = (sent_ms < IDLE_S * 1000) & (sent_ms < received_ms)
        mark(closed & (unread == 0) & answers, Signature.STILL_SENDING)
        mark(closed & (unread == 1), Signature.END_UNREAD)
        mark(closed & (unread > 1), Signature.DATA_UNREAD)
    if there[ESTABLISHED] or there[CLOSE_WAIT]:
        mark(((state == ESTABLISHED) | (state == CLOSE_WAIT)) & (inode == 0) & ~orphan, Signature.UNACCEPTED)
    if there[CLOSE_WAIT]:
        # It still sends to a peer that closed only its half. A retransmission renews the time at which data was sent.
        _mark_unheard(rows, (state == CLOSE_WAIT) & (inode != 0), received_ms, mark)
    if there[FIN_WAIT2]:
        mark((state == FIN_WAIT2) & ~orphan, Signature.HELD)
        mark((state == FIN_WAIT2) & orphan, Signature.ORPHANED)
    for one, kind in _BY_STATE.items():
        if there[one]:
            mark(state == one, kind)
    if any(there[one] for one in _LAST):
        # Its FIN waits behind a window that the peer closed: the peer is there.
        last = np.isin(state, _LAST) & (rows["timer"] == PROBE)
        mark(last & (rows["probes"] < SILENT_RETRANSMITS), Signature.PEER_NOT_READING)
    return found


# States in which the last data, or the FIN, waits for the peer.
_LAST: Final = (FIN_WAIT1, LAST_ACK, CLOSING)
_BY_STATE: Final = {
    **dict.fromkeys(_LAST, Signature.RETRYING),
    TIME_WAIT: Signature.WAITING,
    SYN_SENT: Signature.CONNECTING,
}


def _mark_waiting(
    rows: NDArray[Any],
    open_: NDArray[np.bool_],
    received_ms: NDArray[Any],
    unread: NDArray[Any],
    mark: Callable[[NDArray[np.bool_], Signature], None],
) -> None:
    """Mark, of rows (N,) SOCKET, those that wait for one of the two programs, or for the peer's kernel.

    open_ (N,): which are ESTABLISHED. received_ms, unread (N,): their columns.
    """
    mark(open_ & (rows["timer"] == PROBE) & (received_ms >= _PROBED_S * 1000), Signature.PEER_NOT_READING)
    mark(open_ & (unread >= _MUCH_UNREAD) & (received_ms >= _LEFT_S * 1000), Signature.UNREAD)
    _mark_silent(rows, open_, mark)


def _mark_unheard(
    rows: NDArray[Any],
    which: NDArray[np.bool_],
    received_ms: NDArray[Any],
    mark: Callable[[NDArray[np.bool_], Signature], None],
) -> None:
    """Mark, of those of rows (N,) SOCKET that `which` (N,) tells, the ones whose data the peer does not take.

    received_ms (N,): their column.
    """
    mark(which & (rows["timer"] == PROBE) & (received_ms >= _PROBED_S * 1000), Signature.PEER_NOT_READING)
    _mark_silent(rows, which, mark)


def _mark_silent(
    rows: NDArray[Any], which: NDArray[np.bool_], mark: Callable[[NDArray[np.bool_], Signature], None]
) -> None:
    """Mark, of those of rows (N,) SOCKET that `which` (N,) tells, the ones whose peer answers nothing."""
    timer, retransmits = columns(rows, "timer", "retransmits")
    mark(which & (timer == RETRANSMIT) & (retransmits >= SILENT_RETRANSMITS), Signature.PEER_SILENT)
    # Probes are counted up while they are not answered (icsk_probes_out).
    mark(which & (timer == PROBE) & (rows["probes"] >= SILENT_RETRANSMITS), Signature.PEER_SILENT)


def awaiting(rows: Any) -> NDArray[np.bool_]:
    """Which of N connections sent something and got nothing since, (N,). rows: as for `unanswered`.

    What is sent right behind an answer may be no more than an acknowledgement of it (HTTP/2).
    """
    later = rows["sent_ms"] + np.uint32(_FAREWELL_MS) < rows["received_ms"]
    found: NDArray[np.bool_] = (rows["flags"] & SENT != 0) & ((rows["bytes_received"] == 0) | later)
    return found


def may_trickle(rows: Any) -> NDArray[np.bool_]:
    """Which of N connections in CLOSE_WAIT may have been sent data after the FIN came, (N,): that was a while after the
    client asked, and the last ACK may be of it. rows: as for `unanswered`.
    """
    limit_ms = np.uint32(_A_WHILE_MS)
    acked = rows["sent_ms"] <= rows["heard_ms"] + limit_ms
    found: NDArray[np.bool_] = (rows["flags"] & SENT != 0) & acked & (rows["received_ms"] >= rows["sent_ms"] + limit_ms)
    return found


def unanswered(rows: Any) -> NDArray[np.bool_]:
    """Which of N connections in CLOSE_WAIT asked for something and were sent nothing since, (N,). rows: (N,) SOCKET, or
    its columns by name.

    A peer that closes may say so with its last data (TLS, `QUIT`): these come together with the FIN and its ACK.
    """
    asked = rows["bytes_received"] > 1  # the FIN counts as one
    since = rows["received_ms"].astype(np.int64)
    later = (since < rows["sent_ms"]) & (since > rows["heard_ms"].astype(np.int64) + _FAREWELL_MS)
    found: NDArray[np.bool_] = asked & ((rows["flags"] & SENT == 0) | later)
    return found
