"""How old connections are in their state, and for how long nothing moved, from one look.

An age is exact, or between two bounds: the ACK of data, and the answer to a keepalive probe, count as an ACK heard, so
behind one that came after the FIN its time is not seen.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    KEEPALIVE,
    LAST_ACK,
    MINI,
    PROBE,
    RETRANSMIT,
    STATES,
    TIME_WAIT,
    columns,
)

# TCP_TIMEWAIT_LEN (include/net/tcp.h).
TIME_WAIT_S: Final = 60.0
_FIN_TIMEOUT_S: Final = 60.0
# Two times that are no further apart may be of a segment and its ACK.
_ROUND_TRIP_MS: Final = 1000


class StateAges(Struct, frozen=True, eq=False):
    """Of N sockets: at_least_s, at_most_s (N,) how long each is in its state; of an ESTABLISHED one, for how long no
    data moved. The two are equal where the age is exact.
    """

    at_least_s: NDArray[np.float32]
    at_most_s: NDArray[np.float32]


def ages(rows: NDArray[Any], fin_timeout_s: float = _FIN_TIMEOUT_S) -> StateAges:
    """The ages of rows (N,) SOCKET. fin_timeout_s: `tcp_fin_timeout`.

    CLOSE_WAIT: the FIN carried an ACK, so `heard` is its age where keepalive is off and no data was sent since;
    FIN_WAIT2 that a process holds likewise, by the ACK of our FIN, where no data came since. Minisockets: by what is
    left of their timer. Unanswered data: since the peer was last heard; never since data was sent, which each
    retransmission renews. A FIN behind a closed window: since data moved.
    """
    state, flags, timer, retransmits = columns(rows, "state", "flags", "timer", "retransmits")
    heard_ms, received_ms, sent_ms = columns(rows, "heard_ms", "received_ms", "sent_ms")
    there = np.bincount(state, minlength=STATES)
    is_mini = flags & MINI != 0
    least = heard_ms.astype(np.float32)
    most = least.copy()
    if there[ESTABLISHED]:
        idle = (state == ESTABLISHED) & ((timer != RETRANSMIT) | (retransmits == 0))
        np.copyto(least, np.minimum(received_ms, sent_ms), where=idle, casting="unsafe")
        np.copyto(most, least, where=idle)
    if there[FIN_WAIT1] or there[LAST_ACK] or there[CLOSING]:
        # The peer answers probes of the window that it closed: since the last data moved.
        probed = np.isin(state, (FIN_WAIT1, LAST_ACK, CLOSING)) & (timer == PROBE)
        np.copyto(least, np.minimum(received_ms, sent_ms), where=probed, casting="unsafe")
        np.copyto(most, least, where=probed)
    # What still goes one way: data that we send to a peer that closed its half, or that it sends after we closed ours.
    for which, going, before in ((CLOSE_WAIT, sent_ms, received_ms), (FIN_WAIT2, received_ms, sent_ms)):
        if not there[which]:
            continue
        limit_ms = heard_ms + np.uint32(_ROUND_TRIP_MS)
        bounded = (state == which) & ~is_mini & ((flags & KEEPALIVE != 0) | (going <= limit_ms))
        # The FIN came, or went, after the last data of the other way.
        bounded &= before > limit_ms
        np.copyto(most, before, where=bounded, casting="unsafe")
    for which, whole_s in ((TIME_WAIT, TIME_WAIT_S), (FIN_WAIT2, fin_timeout_s)):
        if not there[which]:
            continue
        timed = (state == which) & is_mini if which == FIN_WAIT2 else state == which
        past = np.maximum(whole_s * 1000 - np.maximum(rows["expires_ms"], 0).astype(np.float32), 0)
        np.copyto(least, past, where=timed)
        np.copyto(most, past, where=timed)
    least /= 1000
    most /= 1000
    return StateAges(least, most)
