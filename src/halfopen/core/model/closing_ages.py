"""How old connections are in their state, and for how long nothing moved, from one look.

An age is exact, or between two bounds: an answer to a keepalive probe counts as an ACK heard, so behind one that came
after the FIN its time is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    KEEPALIVE,
    MINI,
    RETRANSMIT,
    TIME_WAIT,
)

# TCP_TIMEWAIT_LEN (include/net/tcp.h).
TIME_WAIT_S: Final = 60.0
_FIN_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class StateAges:
    """Of N sockets: at_least_s, at_most_s (N,) how long each is in its state; of an ESTABLISHED one, for how long no
    data moved. The two are equal where the age is exact.
    """

    at_least_s: NDArray[np.float32]
    at_most_s: NDArray[np.float32]


def ages(rows: NDArray[Any], fin_timeout_s: float = _FIN_TIMEOUT_S) -> StateAges:
    """The ages of N sockets (dtype SOCKET).

    CLOSE_WAIT: the FIN carried an ACK, so `heard` is its age where keepalive is off; FIN_WAIT2 that a process holds
    likewise, by the ACK of our FIN. Minisockets: by what is left of their timer. Unanswered data: since the peer was
    last heard; never since data was sent, which each retransmission renews.
    """
    heard = rows["heard_ms"].astype(np.float32)
    received, sent = rows["received_ms"].astype(np.float32), rows["sent_ms"].astype(np.float32)
    state, is_mini = rows["state"], rows["flags"] & MINI != 0
    least, most = heard.copy(), heard.copy()
    idle = (state == ESTABLISHED) & ((rows["timer"] != RETRANSMIT) | (rows["retransmits"] == 0))
    least[idle] = most[idle] = np.minimum(received, sent)[idle]
    bounded = ((state == CLOSE_WAIT) | (state == FIN_WAIT2)) & (rows["flags"] & KEEPALIVE != 0) & ~is_mini
    most[bounded] = np.maximum(received, heard)[bounded]
    left = np.maximum(rows["expires_ms"], 0).astype(np.float32)
    for which, whole_s in (((state == TIME_WAIT), TIME_WAIT_S), ((state == FIN_WAIT2) & is_mini, fin_timeout_s)):
        least[which] = most[which] = np.maximum(whole_s * 1000 - left[which], 0)
    least /= 1000
    most /= 1000
    return StateAges(least, most)
