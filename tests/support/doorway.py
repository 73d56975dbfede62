"""What tests of the door share: the door held for connections of a lab, and clients that come to it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from halfopen.change.door import Door
from halfopen.core.sample import REQUEST

if TYPE_CHECKING:
    from halfopen.lab import Lab


def established_resets(lab: Lab) -> int:
    """How many established connections the server's kernel reset: an aborted one counts, a dropped request does not."""

    def read() -> int:
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("EstabResets")])

    return int(lab.server.run(read))


@contextmanager
def holding(lab: Lab, door: Door, *connections: NDArray[np.uint64]) -> Iterator[None]:
    """The door held for connections of the lab's server, from a thread that lives there until it is let go."""
    begun, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with door.held(*connections):
            begun.set()
            while not let_go.wait(0.1):
                door.keep()

    thread = threading.Thread(target=lab.server.run, args=(hold,))
    thread.start()
    assert begun.wait(60)
    try:
        yield
    finally:
        let_go.set()
        thread.join()


def row_of(lab: Lab, port: int) -> NDArray[Any]:
    """What `connecting` from this port leaves at the server, as a row."""
    one = np.zeros(1, dtype=REQUEST)
    one["family"], one["local_port"], one["remote_port"] = 2, 8080, port
    one["local_v4"] = int.from_bytes(socket.inet_aton(lab.server.v4))
    one["remote_v4"] = int.from_bytes(socket.inet_aton(lab.client.v4))
    return one


def connecting(lab: Lab, port: int) -> socket.socket:
    """A client's socket on its way to the server, from a port of our choice."""

    def start() -> socket.socket:
        s = socket.socket()
        s.setblocking(False)
        s.bind((lab.client.v4, port))
        s.connect_ex((lab.server.v4, 8080))
        return s

    made: socket.socket = lab.client.run(start)
    return made


def connected(s: socket.socket) -> bool:
    try:
        s.getpeername()
    except OSError:
        return False
    return True


def path_of(lab: Lab) -> str:
    """The server's namespace as another process opens it."""
    return f"/proc/{os.getpid()}/fd/{lab.server.netns_path.rpartition('/')[2]}"
