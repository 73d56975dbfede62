"""A client of the service's page: plain HTTP, as a browser or an attacker speaks it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

PATIENCE_S = 20


class Connection(http.client.HTTPConnection):
    """To an address (host, port), or to the path of a Unix socket."""

    def __init__(self, where: tuple[str, int] | str) -> None:
        super().__init__("127.0.0.1", where[1] if isinstance(where, tuple) else 80, timeout=PATIENCE_S)
        self.where = where

    def connect(self) -> None:
        self.sock = connected(self.where)


def connected(where: tuple[str, int] | str) -> socket.socket:
    """A socket to the page."""
    if isinstance(where, tuple):
        return socket.create_connection(where, timeout=PATIENCE_S)
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(PATIENCE_S)
    made.connect(where)
    return made


class Browser:
    """Asks with a session, once it has one."""

    def __init__(self, where: tuple[str, int] | str, session: str = "") -> None:
        self.where, self.session = where, session

    def get(self, path: str, method: str = "GET", **fields: str) -> http.client.HTTPResponse:
        """The answer to a request; fields: with _ for -."""
        one = Connection(self.where)
        given = {"Authorization": f"Bearer {self.session}"} if self.session else {}
        given |= {name.replace("_", "-"): value for name, value in fields.items()}
        one.putrequest(method, path, skip_host="Host" in given)
        for name, value in given.items():
            one.putheader(name, value)
        one.endheaders()
        return one.getresponse()

    def status(self, path: str, method: str = "GET", **fields: str) -> int:
        """The status of the answer."""
        with self.get(path, method, **fields) as answer:
            return answer.status

    def json(self, path: str) -> Any:
        """The document of the answer. Raises: AssertionError."""
        with self.get(path) as answer:
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            return json.loads(body)

    def enter(self, link: str) -> int:
        """Open a link; the status."""
        with self.get("/session", Authorization=f"Link {link}") as answer:
            body = answer.read()
            if answer.status == 200:
                self.session = json.loads(body)["session"]
            return answer.status

    def stream(self, path: str = "/stream") -> Stream:
        """A stream that is open from now on, or refused."""
        return Stream(self.where, path, self.session)


class Stream:
    """A stream of states: its status, and each state as it comes."""

    def __init__(self, where: tuple[str, int] | str, path: str, session: str) -> None:
        self.socket = connected(where)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {session}\r\n\r\n".encode()
        )
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline() not in (b"\r\n", b""):
            pass

    def __iter__(self) -> Iterator[Any]:
        for line in self._file:
            if line.startswith(b"event: over"):
                return
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def close(self) -> None:
        """Read no more."""
        self._file.close()
        self.socket.close()
