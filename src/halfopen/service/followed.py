"""The service's readings for a screen, as the reports that a watch in this process would yield."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from halfopen.core.errors import DAMAGED, HalfopenError, NoReadings
from halfopen.core.reports import Report, Round, Trouble
from halfopen.ops.top.between import Between
from halfopen.ops.top.received import ReceivedReadings
from halfopen.service import client
from halfopen.wire.readings import FrameTaker

_PIECE: Final = 256 * 1024
_LINE_MOST: Final = 64 * 1024
# Limits for an answer and for a reading; readings are at most 10 s apart.
_PATIENCE_S: Final = 20.0
_AGAIN_S: Final = 1.0
# A command that asks for another namespace gets its error from the kernel, not from the service; one that asks for all
# is told that the service does not watch them.
_EXPECTED: Final = ("elsewhere", "unknown-target")


class FollowedReadings:
    """What a service at the control socket `path` reads of a namespace (as --netns takes it).

    everywhere: it was asked for every namespace. wider: it reads every one, and was asked for one.
    """

    def __init__(self, path: str, netns: str | None) -> None:
        """Raises: NoReadings."""
        self._path, self._netns = path, netns
        self.everywhere, self._all_there, self._widens = netns == "all", False, False
        self._socket, self._begun = self._connected()

    @property
    def wider(self) -> bool:
        """Whether `widen` would show more namespaces."""
        return self._all_there and not self.everywhere

    def widen(self) -> None:
        """Request every namespace from now on. For the thread of `run`."""
        self._netns, self.everywhere, self._widens = "all", True, True
        with suppress(OSError):  # the socket is closed while waiting for the service
            self._socket.shutdown(socket.SHUT_RDWR)

    def run(self, stop: Between) -> Iterator[Report]:
        """The reports, until `stop` is set. If the service is gone, it is waited for."""
        watched: Round | None = None
        while not stop.is_set():
            try:
                for report in self._reports(stop):
                    watched = report if isinstance(report, Round) else watched
                    yield report
            except (OSError, HalfopenError) as e:
                if self._widens:
                    continue
                why = e.message if isinstance(e, HalfopenError) else "it ended the connection"
                yield Trouble("service", _lost(why))
                yield watched or Round(frozenset(), frozenset())
            self._socket.close()
            if not self._again(stop):
                break
        self._socket.close()

    def _reports(self, stop: Between) -> Iterator[Report]:
        if self._widens:
            self._widens = False
            self._socket.close()
            self._socket, self._begun = self._connected()
        received, frames, data = ReceivedReadings(), FrameTaker(), self._begun
        patience_s = _PATIENCE_S
        while not stop.is_set():
            for entry in frames.take(data):
                yield from received.take(entry)
            patience_s = _PATIENCE_S + (received.interval_s or 0.0)
            if not stop.wait_for(self._socket.fileno(), patience_s):
                if stop.is_set():
                    return
                raise HalfopenError("service", f"no reading for {patience_s:.0f} s")
            data = self._socket.recv(_PIECE)
            if not data:
                raise OSError

    def _again(self, stop: Between) -> bool:
        """Connect again as soon as possible. False: `stop` was set before."""
        while not stop.wait(_AGAIN_S):
            try:
                self._socket, self._begun = self._connected()
            except HalfopenError:
                continue
            return True
        return False

    def _connected(self) -> tuple[socket.socket, bytes]:
        """A connection that receives readings, and the bytes received after the answer. Raises: NoReadings."""
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            one.settimeout(client.CONNECT_S)
            one.connect(self._path)
            one.settimeout(_PATIENCE_S)
            request: dict[str, Any] = {"command": "readings", "here": client.here()}
            if self._netns is not None:
                request["netns"] = self._netns
            one.sendall(json.dumps(request).encode() + b"\n")
            line, rest = _line(one)
            self._granted(line)
            return one, rest
        except PermissionError:
            one.close()
            raise NoReadings(client.why_not(self._path)) from None
        except (ConnectionRefusedError, FileNotFoundError):
            one.close()
            raise NoReadings("the halfopen service does not run", expected=True) from None
        except OSError as e:
            one.close()
            raise NoReadings(f"the halfopen service does not answer: {e.strerror or 'no answer in time'}") from None
        except HalfopenError:
            one.close()
            raise

    def _granted(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            error = answer.get("error") or {}
            ok, self._all_there = bool(answer.get("ok")), bool(answer.get("everywhere"))
        except (AttributeError, *DAMAGED):
            raise NoReadings("the halfopen service gave an answer that is not JSON") from None
        if not ok:
            words, hint = str(error.get("message") or ""), str(error.get("hint") or "")
            expected = error.get("id") in _EXPECTED and not self.everywhere
            raise NoReadings(f"the halfopen service: {words}", hint, expected=expected)


def _line(one: socket.socket) -> tuple[bytes, bytes]:
    taken = b""
    until = time.monotonic() + _PATIENCE_S
    while b"\n" not in taken:
        piece = one.recv(_PIECE)
        if not piece or len(taken) > _LINE_MOST or time.monotonic() > until:
            raise NoReadings("the halfopen service closed the connection")
        taken += piece
    line, _, rest = taken.partition(b"\n")
    return line, rest


def _lost(why: str) -> HalfopenError:
    hint = "waiting for it; q and halfopen top --direct read the kernel"
    return HalfopenError("service", f"the halfopen service is gone: {why}", hint=hint)
