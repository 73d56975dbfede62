"""The control socket: a request is a line of JSON, and so is its answer (docs/service.md).

It runs in a thread of its own. The length of a line, the time of a client, and the number of clients of one user and in
all are limited, so that clients cannot delay the loop.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol, assert_never

from msgspec import Struct, field

from halfopen.core.errors import EXIT_REFUSED, HalfopenError, NotPermitted, UsageError
from halfopen.linux import netns, threads
from halfopen.linux.socket_peer import peer
from halfopen.service import control_lines, requests
from halfopen.service.answers import Answered, Answers, Wanted
from halfopen.service.feed import ReadingsFeed
from halfopen.service.requests import (
    LINE_MOST,
    AskAcknowledge,
    AskedToShow,
    AskHealth,
    AskIncidents,
    AskMode,
    AskReadings,
    AskReload,
    AskSilence,
    AskUnsilence,
)

_CLIENTS_MOST: Final = 32
_OF_ONE_USER: Final = 8
# The most clients that are sent every reading, less than all, so that there is room for requests.
_STREAMS_MOST: Final = 16
_STREAMS_OF_ONE_USER: Final = 4
_IDLE_S: Final = 10.0
# Time limits for making an answer, and for the client to read it.
_ANSWER_S: Final = 75.0
# The share of the time for all clients together, without the commands that are run for them.
_SHARE: Final = 0.05
# How many further bytes a client may send while it is being answered.
_AHEAD_MOST: Final = 4 * LINE_MOST
_BETWEEN_S: Final = 0.002
_PAUSE_S: Final = 0.2
_PIECE: Final = LINE_MOST
_BACKLOG: Final = 64


class Asking(Protocol):
    """The service, as the control socket uses it. Every method is called by the thread that answers."""

    def health(self) -> Mapping[str, Any]:
        """The state of the service."""

    def incidents(self) -> Mapping[str, Any]:
        """The incidents that are on."""

    def link(self, *, session: bool = False) -> Mapping[str, Any]:
        """A new link to the page, or a session of it. Raises: HalfopenError."""

    def reload(self) -> Mapping[str, Any]:
        """Read the configuration again. Raises: HalfopenError."""

    def silence(self, action: AskAcknowledge | AskSilence | AskUnsilence, uid: int) -> Mapping[str, Any]:
        """Begin or end a silence, as a user requests. Raises: HalfopenError."""

    def set_mode(self, *, observe: bool) -> Mapping[str, Any]:
        """Let policies only observe, or act as configured. Raises: HalfopenError."""


class _Client(Struct, eq=False):
    """A client. until: when it is closed, unless something comes. line: received bytes that are not processed yet.
    rest: the part of an answer that is not sent yet. asked: a request is being answered. last: close it after this
    answer. streams: it is sent readings, those of the namespace `inode` or (None) all.
    """

    socket: socket.socket
    uid: int
    member: bool
    until: float
    line: bytearray = field(default_factory=bytearray)
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    asked: bool = False
    last: bool = False
    streams: bool = False
    inode: int | None = None


class Control:
    """Answers requests at a listening Unix socket until `close`."""

    def __init__(
        self,
        listener: socket.socket,
        service: Asking,
        *,
        group: int | None = None,
        everywhere: bool = False,
        watched: int | None = None,
        answers: Answers | None = None,
        feed: ReadingsFeed | None = None,
    ) -> None:
        """group: members may read, as root and this process's user may. everywhere: every network namespace is watched;
        otherwise the one with the inode `watched` (None: this process's own). feed: the readings.

        Raises: KernelError.
        """
        self._listener, self._service, self._group = listener, service, group
        self._everywhere, self._own = everywhere, netns.current().inode
        self._watched = self._own if watched is None else watched
        self._answers = Answers() if answers is None else answers
        self._feed = ReadingsFeed("") if feed is None else feed
        listener.setblocking(False)
        self._made: deque[tuple[_Client, bytes]] = deque()
        self._clients: dict[int, _Client] = {}
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._feed.wake = lambda: os.eventfd_write(self._wake, 1)
        self._accept_at = 0.0
        self._ends = False
        self.refused = 0
        self._thread = threading.Thread(target=self._serve, name="halfopen-control", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threads.start(self._thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def alive(self) -> bool:
        """Whether the thread that answers is running."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop answering."""
        self._ends = True
        self._feed.wake = None
        self._answers.close()
        os.eventfd_write(self._wake, 1)
        self._thread.join(timeout=2)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with self._selector, self._listener:
            self._selector.register(self._wake, selectors.EVENT_READ)
            listening = False
            while not self._ends:
                now, used_s = time.monotonic(), time.thread_time()
                if not listening and now >= self._accept_at:
                    self._selector.register(self._listener, selectors.EVENT_READ)
                    listening = True
                for key, _ in self._selector.select(self._patience_s(now, listening)):
                    if key.fd == self._wake:
                        os.eventfd_read(self._wake)
                    elif key.fileobj is self._listener:
                        self._selector.unregister(self._listener)
                        listening = False
                        self._accept()
                    elif (client := self._clients.get(key.fd)) is not None:
                        self._go_on(client)
                self._deliver()
                self._hand_on()
                self._expire()
                # Out of time: clients have to wait, so that the loop of the watch does not.
                time.sleep((time.thread_time() - used_s) * (1 / _SHARE - 1))
            for client in list(self._clients.values()):
                self._end(client)

    def _patience_s(self, now: float, listening: bool) -> float | None:
        due = [client.until for client in self._clients.values()]
        if not listening:
            due.append(self._accept_at)
        until = min(due, default=math.inf)
        return None if until == math.inf else max(0.0, until - now)

    def _accept(self) -> None:
        now = time.monotonic()
        self._accept_at = now + _BETWEEN_S
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            self._accept_at = now + _PAUSE_S
            return
        try:
            who = peer(accepted)
        except OSError:
            accepted.close()
            return
        accepted.setblocking(False)
        member = who.uid in (0, os.geteuid()) or self._group in who.groups
        client = _Client(accepted, who.uid, member, now + _IDLE_S)
        self._make_room(who.uid)
        self._clients[accepted.fileno()] = client
        self._selector.register(accepted, selectors.EVENT_READ)

    def _make_room(self, uid: int) -> None:
        """Close a client to make room: the oldest of this user if the user has too many, otherwise the oldest
        idle one.
        """
        own = [client for client in self._clients.values() if client.uid == uid]
        own.sort(key=lambda client: client.streams)
        if len(own) >= _OF_ONE_USER:
            self._refuse(own[0])
        elif len(self._clients) >= _CLIENTS_MOST:
            idle = [client for client in self._clients.values() if not (client.asked or client.streams)]
            self._refuse((idle or list(self._clients.values()))[0])

    def _refuse(self, client: _Client) -> None:
        self.refused += 1
        self._end(client)

    def _go_on(self, client: _Client) -> None:
        try:
            if client.rest:
                self._send(client)
            else:
                piece = client.socket.recv(_PIECE)
                # Input from a client that is being sent readings is ignored.
                client.line += b"" if client.streams else piece
                if not piece or len(client.line) > _AHEAD_MOST:
                    self._end(client)
        except BlockingIOError:
            return
        except OSError:
            self._end(client)
        self._next(client)

    def _next(self, client: _Client) -> None:
        """Process the next requests of a client, one at a time, as long as it reads the answers."""
        while self._known(client) and not (client.asked or client.rest or client.last or client.streams):
            line, newline, rest = client.line.partition(b"\n")
            if len(line) > LINE_MOST:
                client.last = True
                self._say(client, control_lines.failed(UsageError(f"a line is longer than {LINE_MOST} bytes")))
                return
            if not newline:
                return
            client.line, client.until = rest, time.monotonic() + _IDLE_S
            if line.strip():
                self._asked(client, bytes(line))

    def _known(self, client: _Client) -> bool:
        return self._clients.get(client.socket.fileno()) is client

    def _asked(self, client: _Client, line: bytes) -> None:
        try:
            self._answer(client, requests.parse(line))
        except HalfopenError as e:
            self._say(client, control_lines.failed(e))

    def _answer(self, client: _Client, request: requests.ControlRequest) -> None:
        if not client.member:
            raise NotPermitted("only members of the service's group may ask", hint="sudo adduser USER halfopen")
        match request:
            case AskHealth():
                self._say(client, control_lines.done("health", self._service.health()))
            case AskIncidents():
                self._say(client, control_lines.done("incidents", self._service.incidents()))
            case requests.AskWeb():
                self._say(client, control_lines.done("web", self._service.link(session=request.session)))
            case AskReload() | AskMode() | AskAcknowledge() | AskSilence() | AskUnsilence():
                if client.uid != 0:
                    raise NotPermitted("only root may change what the service does", hint="run as root (sudo)")
                self._say(
                    client, control_lines.done(str(request.__struct_config__.tag), self._change(request, client.uid))
                )
            case requests.AskStatus() | requests.AskList() | requests.AskCheck() | requests.AskDiagnose():
                self._show(client, request)
            case requests.AskReadings():
                self._stream(client, request)
            case _:
                assert_never(request)

    def _change(
        self, request: AskReload | AskMode | AskAcknowledge | AskSilence | AskUnsilence, uid: int
    ) -> Mapping[str, Any]:
        if isinstance(request, AskReload):
            return self._service.reload()
        if isinstance(request, AskMode):
            return self._service.set_mode(observe=request.mode == "observe")
        return self._service.silence(request, uid)

    def _must_be_watched(self, request: AskedToShow | AskReadings) -> None:
        if request.netns in (None, "self") and request.here not in (None, self._own):
            raise HalfopenError("elsewhere", "the service lives in another network namespace", exit_code=EXIT_REFUSED)
        if request.netns not in (None, "self") and not self._everywhere:
            raise HalfopenError(
                "elsewhere", "the service watches only its own network namespace", exit_code=EXIT_REFUSED
            )

    def _show(self, client: _Client, request: AskedToShow) -> None:
        self._must_be_watched(request)
        words = tuple(requests.arguments(request))
        wanted = Wanted(words, request.width, request.colour, client.uid == 0, request.language)
        client.asked, client.until = True, time.monotonic() + _ANSWER_S

        def then(made: Answered | HalfopenError) -> None:
            answer = (
                control_lines.failed(made) if isinstance(made, HalfopenError) else control_lines.shown(request, made)
            )
            self._made.append((client, answer))
            os.eventfd_write(self._wake, 1)

        try:
            self._answers.ask(wanted, then)
        except HalfopenError:
            client.asked = False
            raise

    # --- readings for screens -----------------------------------------------------------------------------------------

    def _stream(self, client: _Client, request: AskReadings) -> None:
        """Send every reading from now on. Raises: HalfopenError if the namespace is not watched, or there are
        too many.
        """
        self._must_be_watched(request)
        inode = self._own if request.netns in (None, "self") else None
        if not self._everywhere and inode != self._watched:
            raise HalfopenError("elsewhere", "the service watches another network namespace", exit_code=EXIT_REFUSED)
        if request.netns not in (None, "self", "all"):
            inode = netns.resolve(request.netns or "").inode
        there = [one for one in self._clients.values() if one.streams]
        if len(there) >= _STREAMS_MOST or sum(one.uid == client.uid for one in there) >= _STREAMS_OF_ONE_USER:
            raise HalfopenError("busy", "the service serves too many screens", hint="close one, or use --direct")
        client.streams, client.inode, client.line = True, inode, bytearray()
        self._feed.watched = True
        head = control_lines.done("readings", {"everywhere": self._everywhere})
        self._say(client, head + self._feed.head() + self._feed.first(inode))

    def _hand_on(self) -> None:
        """Send new readings to every screen that has received the last ones. A screen that lags misses readings."""
        there = [client for client in self._clients.values() if client.streams]
        self._feed.watched = bool(there)
        if not there or not self._feed.has_news:
            return
        batch, made = self._feed.news(), dict[int | None, bytes]()
        for client in there:
            if not client.rest:
                made[client.inode] = made.get(client.inode) or batch.of(client.inode)
                self._say(client, made[client.inode])

    def _deliver(self) -> None:
        while self._made:
            client, answer = self._made.popleft()
            if self._known(client):
                client.asked = False
                self._say(client, answer)
                self._next(client)

    def _say(self, client: _Client, answer: bytes) -> None:
        client.rest = memoryview(answer)
        if client.streams:
            client.until = time.monotonic() + _IDLE_S
        try:
            self._send(client)
        except BlockingIOError:
            pass
        except OSError:
            self._end(client)

    def _send(self, client: _Client) -> None:
        """Send the rest of an answer. Raises: OSError; BlockingIOError if the client is not ready."""
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        while client.rest:
            client.rest = client.rest[client.socket.send(client.rest) :]
        if client.last:
            self._end(client)
            return
        client.until = math.inf if client.streams else time.monotonic() + _IDLE_S
        self._selector.modify(client.socket, selectors.EVENT_READ)

    def _expire(self) -> None:
        now = time.monotonic()
        for client in [one for one in self._clients.values() if one.until <= now]:
            self._end(client)

    def _end(self, client: _Client) -> None:
        if self._clients.pop(client.socket.fileno(), None) is not None:
            self._selector.unregister(client.socket)
            client.socket.close()
