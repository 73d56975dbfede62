"""The metrics of a watch over HTTP: the last finished text, from a thread of its own.

Clients cannot cost the watch more than the bounded work of that thread: a few connections at a time, each for a few
seconds, of which the oldest makes room for a new one.
"""

from __future__ import annotations

import errno
import selectors
import signal
import socket
import threading
import time
from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.core.metrics_text import MetricsText
from halfopen.linux import threads
from halfopen.linux.served_address import ServedAddress
from halfopen.ops.watch.http_answer import HEAD_MOST, answer

# A scrape of 4,000 listeners is 3 MB: a moment on loopback. Prometheus itself gives up after ten seconds.
_CLIENT_S: Final = 10.0
_CLIENTS_MOST: Final = 32
# At most 200 connections a second are accepted, which hardly costs the loop anything.
_BETWEEN_S: Final = 0.005
# The pause after accept() has failed, as for lack of descriptors.
_PAUSE_S: Final = 0.2
_BACKLOG: Final = 256
_PIECE: Final = 64 * 1024
# How much data is read that a client sends after its answer: closing with unread data would reset the connection.
_REST_MOST: Final = 256 * 1024


class _Client(Struct):
    """A client. until: when it is closed. head: what was received of it. rest: of the answer; None: no request yet."""

    socket: socket.socket
    until: float
    head: bytearray = field(default_factory=bytearray)
    rest: list[memoryview] | None = None
    ignored: int = 0


def listen(where: str, *, anywhere: bool = False) -> ServedAddress:
    """Listen at ADDRESS:PORT, or a Unix socket (0660). Raises: UsageError, HalfopenError."""
    return ServedAddress(
        where,
        _BACKLOG,
        id="metrics-listen",
        option="--metrics-listen",
        permit="--metrics-listen-anywhere",
        anywhere=anywhere,
    )


class MetricsServer:
    """Answers GET /metrics, with an empty text until the first one is written."""

    def __init__(self, where: str | socket.socket, *, anywhere: bool = False) -> None:
        """where, anywhere: as for `listen`; or a socket that listens already, and is closed at the end.

        Raises: UsageError, HalfopenError.
        """
        self._opened: ServedAddress | None = None
        if isinstance(where, str):
            self._opened = listen(where, anywhere=anywhere)
            where = self._opened.socket
        self._listener = where
        self._listener.setblocking(False)
        self._text = b""
        self._stop, self._wake = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._accept_at = 0.0
        self._thread = threading.Thread(target=self._serve, name="halfopen-metrics", daemon=True)
        # Block all signals in this thread, so that they wake the main thread.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threads.start(self._thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def write(self, text: MetricsText) -> None:
        """Answer with this text from now on. Raises: HalfopenError if the thread has ended because of a bug."""
        self._text = text.whole
        if not self._thread.is_alive():
            raise HalfopenError("metrics-listen", "metrics are no longer served: the thread that served them ended")

    def close(self) -> None:
        """Stop listening, and close all connections."""
        try:
            self._wake.send(b"x")
        except OSError:  # the thread ended before
            pass
        self._thread.join(timeout=2)
        if self._opened is not None:
            self._opened.close()

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with self._selector, self._listener, self._stop, self._wake:
            self._selector.register(self._stop, selectors.EVENT_READ)
            listening = False
            while True:
                now = time.monotonic()
                if not listening and now >= self._accept_at:
                    self._selector.register(self._listener, selectors.EVENT_READ)
                    listening = True
                for key, _ in self._selector.select(self._patience_s(now, listening)):
                    if key.fileobj is self._stop:
                        for client in list(self._clients.values()):
                            self._end(client)
                        return
                    if key.fileobj is self._listener:
                        self._selector.unregister(self._listener)
                        listening = False
                        self._accept()
                    elif (known := self._clients.get(key.fd)) is not None:
                        self._go_on(known)
                self._expire()

    def _patience_s(self, now: float, listening: bool) -> float | None:
        """How long to wait if no socket becomes ready, s; None: without limit."""
        oldest = next(iter(self._clients.values()), None)
        due = [] if oldest is None else [oldest.until]
        if not listening:
            due.append(self._accept_at)
        return max(0.0, min(due) - now) if due else None

    def _accept(self) -> None:
        now = time.monotonic()
        try:
            accepted, _ = self._listener.accept()
        except OSError as e:
            gone = e.errno in (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR)
            self._accept_at = now + (_BETWEEN_S if gone else _PAUSE_S)
            return
        self._accept_at = now + _BETWEEN_S
        accepted.setblocking(False)
        while len(self._clients) >= _CLIENTS_MOST:
            self._end(next(iter(self._clients.values())))
        client = self._clients[accepted.fileno()] = _Client(accepted, now + _CLIENT_S)
        self._selector.register(accepted, selectors.EVENT_READ)
        self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        try:
            if client.rest is None:
                self._read(client)
            elif client.rest:
                self._send(client, client.rest)
            else:
                client.ignored += len(piece := client.socket.recv(_PIECE))
                if not piece or client.ignored > _REST_MOST:
                    self._end(client)
        except BlockingIOError:
            pass
        except OSError:
            self._end(client)

    def _read(self, client: _Client) -> None:
        piece = client.socket.recv(HEAD_MOST)
        client.head += piece
        made = answer(bytes(client.head), self._text)
        if made is not None:
            # The text itself, not a copy for each client.
            client.rest = [memoryview(part) for part in made if part]
            self._selector.modify(client.socket, selectors.EVENT_WRITE)
            self._send(client, client.rest)
        elif not piece:
            self._end(client)

    def _send(self, client: _Client, rest: list[memoryview]) -> None:
        while rest:
            rest[0] = rest[0][client.socket.send(rest[0]) :]
            if not len(rest[0]):
                del rest[0]
        client.socket.shutdown(socket.SHUT_WR)
        self._selector.modify(client.socket, selectors.EVENT_READ)

    def _expire(self) -> None:
        now = time.monotonic()
        while self._clients and (oldest := next(iter(self._clients.values()))).until <= now:
            self._end(oldest)

    def _end(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        self._selector.unregister(client.socket)
        client.socket.close()
