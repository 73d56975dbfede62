"""An HTTP server that fails in every way: the path says how. For tests of what posts to it."""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass, field
from types import TracebackType

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Post:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class BadServer:
    """Answers POST by the path: /ok, /500, /429, /reset, /hang, /drip, /redirect, /huge, /garbage, /echo, …"""

    posts: list[Post] = field(default_factory=list)
    # Instead of the path: what is done with the next requests, the first for the first.
    script: list[str] = field(default_factory=list)

    def __enter__(self) -> BadServer:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ends = threading.Event()
        self._came = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self._ends.set()
        # Wakes the thread that accepts; a close alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def wait(self, n: int, seconds: float = 15.0) -> list[Post]:
        """The posts, once there are n."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.posts) >= n, seconds), f"{len(self.posts)} of {n} posts"
            return list(self.posts)

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            one.settimeout(60)
            try:
                post = self._read(one)
                with self._came:
                    self.posts.append(post)
                    way = self.script.pop(0) if self.script else post.path
                    self._came.notify_all()
                self._answer(one, way, post)
            except OSError:
                pass

    def _read(self, one: socket.socket) -> Post:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = one.recv(65536)
            if not piece:
                raise ConnectionError
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += one.recv(65536)
        return Post(first.split()[1], headers, body)

    def _answer(self, one: socket.socket, way: str, post: Post) -> None:
        name = way.strip("/").partition("?")[0].partition("/")[0]
        if name == "hang":
            self._ends.wait(60)
        elif name == "drip":
            one.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not self._ends.wait(0.05):
                one.sendall(b"x")
        elif name == "reset":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif name == "redirect":
            one.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")
        elif name == "huge":
            one.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not self._ends.is_set():
                one.sendall(b"x" * 65536)
        elif name == "garbage":
            one.sendall(b"\x00\x15\x03\x01 not HTTP at all\r\n\r\n")
        elif name == "echo":  # repeats every secret it was sent
            text = f"{post.path} {post.headers.get('authorization', '')} \x1b[31m".encode()
            one.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        elif name.isdigit():
            more = "Retry-After: 7\r\n" if name in ("429", "503") else ""
            one.sendall(f"HTTP/1.1 {name} Because\r\n{more}Content-Length: 4\r\n\r\nwhy!".encode())
        else:
            one.sendall(_OK)
