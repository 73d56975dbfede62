"""Connections of which a test holds both ends, and what is read of them."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from halfopen.core.sample.closing import ALL_STATES, OpenSockets
from halfopen.read import closing

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfopen.lab import Lab

PORT, WIDE = 8080, 8081


def listen(port: int, family: socket.AddressFamily, address: str) -> socket.socket:
    """A listener in the namespace of this thread."""
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen(512)
    return made


class Ends:
    """Connections inside one namespace, both of whose ends this process holds."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._listeners = lab.server.run(
            lambda: (listen(PORT, socket.AF_INET, "0.0.0.0"), listen(WIDE, socket.AF_INET6, "::"))
        )
        self.all: list[socket.socket] = [*self._listeners]

    def pair(self, address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
        """A client and the server's end; to [::1] and to the v4-mapped side by the port WIDE."""
        wide = address != "127.0.0.1"
        at = (address.removeprefix("mapped "), WIDE if wide else PORT)
        client = self.lab.server.run(lambda: socket.create_connection(at, 5))
        server, _ = self._listeners[wide].accept()
        self.all += [client, server]
        return client, server

    def close(self) -> None:
        for one in self.all:
            one.close()


def until(work: Callable[[], bool], what: str) -> None:
    """Wait until it holds."""
    end = time.monotonic() + 60
    while not work():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def read(lab: Lab, way: str) -> OpenSockets:
    """The full sockets of the lab's server, with their owners."""
    return lab.server.run(lambda: closing.read(way, ALL_STATES, with_owners=True, notes=[]))


def states(part: OpenSockets) -> dict[int, int]:
    """How many are in each state."""
    values, counts = np.unique(part.rows["state"], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def leak(ends: Ends, stop: threading.Event) -> None:
    """Connections that the client never closes, forty a second."""
    for _ in range(1000):
        ends.pair()[1].close()
        if stop.wait(0.025):
            return
