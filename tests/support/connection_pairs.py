"""Connections of the lab whose both ends a test holds, for cures that act on them."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

from halfopen.core.sample.closing import ALL_STATES, CLOSE_WAIT
from halfopen.read import closing
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab

PORT = 8080
OPTIONS = ((1, 9), (6, 4), (6, 5), (6, 6), (6, 18))


class Pairs:
    """Connections from the lab's client to its server, whose ends this process holds; the cures act on the client's."""

    def __init__(self, lab: Lab, n: int) -> None:
        self.lab = lab
        self.listener = lab.server.run(lambda: socket.create_server(("192.0.2.1", PORT), backlog=64))
        self.clients = [lab.client.run(lambda: socket.create_connection(("192.0.2.1", PORT), 5)) for _ in range(n)]
        self.servers = [self.listener.accept()[0] for _ in range(n)]

    def hang_up(self, n: int) -> None:
        """The server closes the first n."""
        for one in self.servers[:n]:
            one.close()
        end = time.monotonic() + 60
        while self.states().count(CLOSE_WAIT) < n:
            assert time.monotonic() < end, self.states()
            time.sleep(0.02)

    def states(self) -> list[int]:
        read = self.lab.client.run(lambda: closing.read("diag", ALL_STATES, with_owners=False, notes=[]))
        found: list[int] = read.rows["state"].tolist()
        return found

    def cure(self, *words: str) -> dict[str, Any]:
        done = self.lab.client.run(lambda: halfopen("closing", *words, "--yes", "--json"))
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def close(self) -> None:
        for one in (self.listener, *self.clients, *self.servers):
            one.close()


def options(s: socket.socket) -> list[int]:
    return [s.getsockopt(level, name) for level, name in OPTIONS]
