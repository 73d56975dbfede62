"""Arrivals at listeners while somebody looked, and the handshakes of them that finished (bpf/arrivals.bpf.c)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

# One source of connections to one port. number: an IPv4 address, or the first 64 bits of an IPv6 address. syns, and of
# them repeats: of a connection that was half-open already; acks: other packets for a listener or its requests; resets.
# finished: handshakes, and of them late: after a SYN-ACK was sent again. sum_us: of the `timed` ones, from the SYN-ACK
# to its ACK. ifindex: of the device by which its last SYN came in, and local_high, local_low: the address to which that
# was sent, as the two halves of an IPv6 one (IPv4: mapped); 0 where no SYN was counted.
SOURCE: Final[np.dtype[Any]] = np.dtype(
    [
        ("is_v4", "?"),
        ("port", "u2"),
        ("number", "u8"),
        *((name, "u4") for name in ("syns", "repeats", "acks", "resets", "finished", "late", "timed")),
        ("sum_us", "u8"),
        ("ifindex", "u4"),
        ("local_high", "u8"),
        ("local_low", "u8"),
    ]
)


class Arrivals(Struct, frozen=True, eq=False):
    """The counters of one namespace for `seconds`.

    keys: (K,) with the fields of `wire.bpf_records.HANDSHAKE_KEY`; counters: (K,) ARRIVALS_COUNTERS, exact. sources:
    (S,) SOURCE, where simultaneous events of one source may count once. packets: false where handshakes that finished
    were counted and packets were not, because of `why`. crowded: more sources sent packets than are kept. unfit: events
    for which there was no room at all.
    """

    seconds: float
    keys: NDArray[Any]
    counters: NDArray[Any]
    sources: NDArray[Any]
    packets: bool = True
    why: str = ""
    crowded: bool = False
    unfit: int = 0
