"""Addresses that finished a handshake here lately: the kernel remembers the round trip of each (tcp_metrics)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

# One address. number: an IPv4 address, or the first 64 bits of an IPv6 address. age_s: since its last connection ended
# in good order. rtt_s: its round trip, 0 where the kernel does not say.
PEER: Final[np.dtype[Any]] = np.dtype([("is_v4", "?"), ("number", "u8"), ("age_s", "f4"), ("rtt_s", "f4")])


class Peers(Struct, frozen=True, eq=False):
    """The addresses that one namespace remembers: rows (N,) PEER, each address once.

    An address gets there when a connection of its ends in good order (`tcp_update_metrics()`), which no forged source
    brings about. One that is missing proves nothing. whole: no more than `rows` are remembered.
    """

    rows: NDArray[Any]
    whole: bool = True
