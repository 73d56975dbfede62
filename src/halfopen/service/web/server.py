"""Serves the page: HTTP/1.1, one request a connection, in a thread with a loop of its own.

Everything has a limit: the number of connections, the length of a head, the time for a request and for an answer, the
number of streams, and how far a stream may lag.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Final, Protocol

from msgspec import Struct

from halfopen.linux import threads
from halfopen.service.web.http_request import HEAD_MOST, HttpRefusal, HttpRequest, parse

CONNECTIONS_MOST: Final = 128
STREAMS_MOST: Final = 32
HEAD_S: Final = 10.0
"""How long a client may take for its request, s."""
SLOW_S: Final = 10.0
"""How long a client may take to receive what it is sent, s."""
_BACKLOG: Final = 128
# How much the kernel buffers for a stream whose client does not read; the loop itself keeps one event.
_SEND_BUFFER: Final = 64 * 1024
_LINGER_S: Final = 1.0
_REST_MOST: Final = 64 * 1024

# Headers of every answer. The page has no inline script or style, loads nothing from elsewhere, and nobody may frame
# it.
_ALWAYS: Final = (
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Opener-Policy: same-origin",
    "Cross-Origin-Resource-Policy: same-origin",
    "Permissions-Policy: camera=(), geolocation=(), microphone=()",
    "Cache-Control: no-store",
    "Connection: close",
)


class HttpAnswer(Struct, frozen=True):
    """A complete answer."""

    body: bytes
    kind: str = "application/json"
    status: int = 200
    fields: tuple[str, ...] = ()


class EventStream(Struct, frozen=True):
    """Server-sent events: the text of each, as it comes."""

    events: AsyncGenerator[bytes, None]


class Site(Protocol):
    """The content that is served."""

    async def answer(self, request: HttpRequest) -> HttpAnswer | EventStream:
        """The answer to a request. Raises: HttpRefusal."""


class PageServer:
    """Serves a site at a listening socket until `close`."""

    def __init__(self, listener: socket.socket, site: Site) -> None:
        """Raises: KernelError when no thread can be started."""
        self._listener, self._site = listener, site
        # Connections that may be closed to make room, the oldest first: answered ones, then those without a request
        # yet.
        self._answered: dict[asyncio.StreamWriter, None] = {}
        self._asking: dict[asyncio.StreamWriter, None] = {}
        self._connections = 0
        self.streams = 0
        self.refused = 0
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="halfopen-page", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threads.start(self._thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def call(self, what: Callable[[], None]) -> None:
        """Run something in the loop, from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)

    @property
    def alive(self) -> bool:
        """Whether the thread that serves is running."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop serving."""
        self.call(self._end.set)
        self._thread.join(timeout=2)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listener, backlog=_BACKLOG, limit=HEAD_MOST)
        await self._end.wait()
        server.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        # Connections that were aborted are closed in the next turn of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            await self._one(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # the server ends; before 3.12 asyncio.streams would print a traceback
        finally:
            self._connections -= 1
            writer.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the request of a connection."""
        # Buffer no more for a client than what is being sent.
        writer.transport.set_write_buffer_limits(high=0)
        if (raw := writer.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if self._connections > CONNECTIONS_MOST and not self._room():
            self.refused += 1
            await self._say(writer, _refused(503, "too many connections"))
            await self._rest(reader, writer)
            return
        found = await self._found(reader, writer)
        if isinstance(found, HttpAnswer):
            await self._say(writer, found)
            await self._rest(reader, writer)
        else:
            await self._stream(writer, found)

    def _room(self) -> bool:
        """Close a connection that can make room. Returns whether there was one."""
        for those in (self._answered, self._asking):
            for oldest in those:
                del those[oldest]
                oldest.transport.abort()
                return True
        return False

    async def _found(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> HttpAnswer | EventStream:
        self._asking[writer] = None
        try:
            async with asyncio.timeout(HEAD_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refused(431, "a head that is too long")
        finally:
            self._asking.pop(writer, None)
        try:
            found = await self._site.answer(parse(head))
            if isinstance(found, EventStream) and self.streams >= STREAMS_MOST:
                raise HttpRefusal(503, f"{STREAMS_MOST} pages are open already; close one")
        except HttpRefusal as e:
            return _refused(e.status, e.words)
        return found

    async def _say(self, writer: asyncio.StreamWriter, answer: HttpAnswer) -> None:
        async with asyncio.timeout(SLOW_S):
            writer.write(_head(answer.status, answer.kind, (f"Content-Length: {len(answer.body)}", *answer.fields)))
            writer.write(answer.body)
            await writer.drain()

    async def _rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read for a moment what the client still sends: closing with unread data would reset the connection, and the
        client might lose the answer.
        """
        writer.write_eof()
        self._answered[writer] = None
        try:
            async with asyncio.timeout(_LINGER_S):
                await reader.read(_REST_MOST)
        finally:
            self._answered.pop(writer, None)

    async def _stream(self, writer: asyncio.StreamWriter, stream: EventStream) -> None:
        self.streams += 1
        try:
            writer.write(_head(200, "text/event-stream; charset=utf-8", ()))
            async with aclosing(stream.events) as events:
                async for event in events:
                    writer.write(event)
                    async with asyncio.timeout(SLOW_S):
                        await writer.drain()
        finally:
            self.streams -= 1


def _refused(status: int, words: str) -> HttpAnswer:
    fields = ("Allow: GET",) if status == 405 else ('WWW-Authenticate: Bearer realm="halfopen"',) * (status == 401)
    return HttpAnswer(f"{words}\n".encode(), "text/plain; charset=utf-8", status, fields)


def _head(status: int, kind: str, fields: tuple[str, ...]) -> bytes:
    lines = (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Type: {kind}", *fields, *_ALWAYS)
    return "\r\n".join((*lines, "", "")).encode()
