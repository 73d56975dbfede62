"""The part of the face that serves the page."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from halfopen.core.errors import HalfopenError
from halfopen.core.notice import ReceiverStanding
from halfopen.service.web.passes import PassControl
from halfopen.service.web.server import PageServer
from halfopen.service.web.site import PageSite, PageState

_state_decoder: Final[Any] = msgspec.msgpack.Decoder(PageState)


def settings_of(
    fd: int, first: int, key: bytes, hosts: Sequence[str], session_s: float, history: str
) -> dict[str, Any]:
    """The settings of the part. fd: the listening socket. first: an eventfd that holds 1 until the first face has read
    it. history: the file or directory; "": none.
    """
    return {
        "fd": fd,
        "first": first,
        "key": key.hex(),
        "hosts": list(hosts),
        "session_s": session_s,
        "history": history,
    }


class WebPart:
    """Takes the newest state and shows it to browsers that have a session."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """settings: of `settings_of`. Raises: HalfopenError, ValueError."""
        first = _taken(int(settings["first"]))
        passes = PassControl(bytes.fromhex(settings["key"]), float(settings["session_s"]), first=first)
        history = str(settings["history"])
        kept = {"/timeline": partial(_time_line, history), "/incident": partial(_incident, history)}
        self._site = PageSite(passes, settings["hosts"], kept, _words)
        self._server = PageServer(socket.socket(fileno=int(settings["fd"])), self._site)

    def take(self, body: bytes) -> None:
        """Process a state. Raises: HalfopenError if the thread that serves has ended because of a bug."""
        self._site.put(_state_decoder.decode(body))
        self._server.call(self._site.changed)
        if not self._server.alive:
            raise HalfopenError("web", "the page is no longer served: the thread that served it has ended")

    @property
    def watched(self) -> tuple[str, ...]:
        """The languages of the pages that are open."""
        return self._site.watched

    def told(self) -> list[str]:
        return []

    def receivers(self) -> list[ReceiverStanding]:
        return []

    def close(self) -> None:
        self._server.close()


def _taken(first: int) -> bool:
    """Whether this is the first face: only that one finds a value in the eventfd."""
    try:
        return os.eventfd_read(first) > 0
    except BlockingIOError:
        return False


# Imported when asked for: the face needs these modules for nothing else.


def _words(_: Mapping[str, str], language: str) -> bytes:
    from halfopen.present.web.words import words

    return msgspec.json.encode(words(language))


def _time_line(history: str, query: Mapping[str, str], language: str) -> bytes:
    from halfopen.service.web import kept

    return kept.time_line(history, query, language)


def _incident(history: str, query: Mapping[str, str], language: str) -> bytes:
    from halfopen.service.web import kept

    return kept.incident(history, query, language)
