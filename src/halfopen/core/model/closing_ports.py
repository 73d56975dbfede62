"""The local ports that connections to each destination have used up. Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.model.closing_addresses import local_text, peer_ids, remote_text
from halfopen.core.model.numbering import numbered
from halfopen.core.sample.closing import TIME_WAIT, OpenSockets
from halfopen.core.units import endpoint_text

_MOST_DESTINATIONS: Final = 10


class Destination(Struct, frozen=True):
    """One destination of outgoing connections: `used` local ports of `room` are taken towards it, `waiting` of them by
    TIME_WAIT, from one address of ours.
    """

    peer: str
    local: str
    used: int
    waiting: int
    room: int

    @property
    def share(self) -> float:
        """The share of the local ports that is taken, from 0 to 1."""
        return self.used / self.room if self.room else 0.0

    @property
    def loops(self) -> bool:
        """Whether one of the two addresses is of loopback."""
        return any(text.startswith(("127.", "[::1]:", "::1")) for text in (self.peer, self.local))


def destinations_of(now: OpenSockets, incoming: NDArray[Any]) -> tuple[Destination, ...]:
    """The destinations that take the most local ports from one of our addresses. incoming (N,): which of the N sockets
    came in.
    """
    places = np.flatnonzero(~incoming)
    room = port_room(now)
    if not len(places) or not room:
        return ()
    local, _ = numbered(now.rows["local"][places].astype(np.uint64))
    ports = now.rows["remote_port"][places].astype(np.uint64)
    peer, _ = numbered(peer_ids(now)[places] << np.uint64(16) | ports)
    destination, first = numbered(peer.astype(np.uint64) << np.uint64(32) | local.astype(np.uint64))
    used = np.bincount(destination)
    waiting = np.bincount(destination[now.rows["state"][places] == TIME_WAIT], minlength=len(used))
    found = []
    for i in np.argsort(-used, kind="stable")[:_MOST_DESTINATIONS].tolist():
        at = int(places[first[i]])
        to = endpoint_text(remote_text(now, at), int(now.rows["remote_port"][at]))
        found.append(Destination(to, local_text(now, at), int(used[i]), int(waiting[i]), room))
    return tuple(found)


def port_room(now: OpenSockets) -> int:
    """How many local ports connect() may choose from; 0 where that was not read."""
    limits = now.numbers("ip_local_port_range")
    if len(limits) != 2:
        return 0
    low, high = limits
    reserved = 0
    for piece in filter(None, now.settings.get("ip_local_reserved_ports", "").split(",")):
        first, _, last = piece.partition("-")
        if first.isdigit() and (last or first).isdigit():
            reserved += max(0, min(int(last or first), high) - max(int(first), low) + 1)
    return max(0, high - low + 1 - reserved)


def ports_given_up(now: OpenSockets) -> NDArray[Any]:
    """The local ports of connections that came to a listener which is closed, as in a server that ends, (K,).

    connect() takes no port outside of its range, and a program that binds one takes it for a single connection.
    """
    limits = now.numbers("ip_local_port_range")
    if len(limits) != 2:
        return np.empty(0, dtype=np.uint16)
    counts = np.bincount(now.rows["local_port"], minlength=1)
    # Those of connect(): limits[0] to limits[1].
    counts[limits[0] : limits[1] + 1] = 0
    return np.flatnonzero(counts > 1)
