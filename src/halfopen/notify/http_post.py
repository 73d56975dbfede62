"""A POST with a limit of time and of the answer's size, even if the server hangs, drips, redirects or never ends."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.core.sections.notify import url_shown
from halfopen.core.version import __version__
from halfopen.notify.secrets import hide, parts_of

# Time to connect, for each address of the server.
_CONNECT_S: Final = 5.0
# How much of an answer is read: enough for the reason of a refusal.
_ANSWER: Final = 4096
_SHOWN: Final = 200
_RETRY_MOST_S: Final = 3600.0
# Answers after which a retry may succeed (RFC 9110); any other 4xx rejects the message itself.
_AGAIN: Final = frozenset({408, 425, 429})


class PostTarget(Struct, frozen=True):
    """Where to post. url: http or https; ca_file: certificates of authorities instead of the system's, "" for those.

    secrets: texts that no message of halfopen may contain, besides the parts of the URL.
    """

    url: str
    ca_file: str = ""
    secrets: Collection[str] = ()

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return url_shown(self.url)


def post(target: PostTarget, body: bytes, headers: Mapping[str, str], within_s: float) -> str:
    """Post the body. Returns the answer's status in words. No redirect is followed. Raises: HalfopenError,
    Undelivered.
    """
    parts = urlsplit(target.url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=min(_CONNECT_S, within_s), context=_context(target.ca_file)
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=min(_CONNECT_S, within_s))
    began, late = time.monotonic(), threading.Event()
    try:
        connection.connect()
        sock: socket.socket = connection.sock
        left_s = max(0.1, within_s - (time.monotonic() - began))
        sock.settimeout(left_s)
        with _Deadline(sock, left_s, late):
            sent = {"Connection": "close", "Accept-Encoding": "identity", "User-Agent": f"halfopen/{__version__}"}
            connection.request("POST", path, body, {**sent, **headers})
            answer = connection.getresponse()
            text = answer.read(_ANSWER).decode("utf-8", "replace")
        if late.is_set():  # an answer that was cut short may look whole
            raise TimeoutError
    except (OSError, http.client.HTTPException, ValueError) as e:
        timed_out = late.is_set() or isinstance(e, TimeoutError)
        raise Undelivered(f"{target.shown}: {_why(e, within_s if timed_out else None, target)}") from None
    finally:
        connection.close()
    return _judged(target, answer, text)


def _judged(target: PostTarget, answer: http.client.HTTPResponse, text: str) -> str:
    status = answer.status
    said = hide(f"{status} {http.client.responses.get(status, '')}".strip(), ())
    if 200 <= status < 300:
        return said
    if 300 <= status < 400:
        raise Undelivered(
            f"{target.shown}: answered {said}", hint="redirects are not followed; give the final URL", hopeless=True
        )
    secrets = {*target.secrets, *parts_of(target.url)}
    detail = " ".join(hide(text, secrets).split())[:_SHOWN]
    raise Undelivered(
        f"{target.shown}: answered {said}" + (f": {detail}" if detail else ""),
        retry_after_s=_retry_after_s(answer.getheader("Retry-After")),
        hopeless=400 <= status < 500 and status not in _AGAIN,
    )


def _why(e: Exception, timed_out_s: float | None, target: PostTarget) -> str:
    if timed_out_s is not None:
        return f"no answer within {timed_out_s:g} s"
    if isinstance(e, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {e.verify_message}"
    if isinstance(e, socket.gaierror):
        return f"its name is not known: {e.strerror}"
    if isinstance(e, http.client.HTTPException):
        return f"answered something that is not HTTP ({type(e).__name__})"
    text = getattr(e, "strerror", None) or str(e)
    return hide(f"{text}", {*target.secrets, *parts_of(target.url)})


def _retry_after_s(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which may also be a date (RFC 9110, 10.2.3); None if it is neither."""
    word = (text or "").strip()
    if word.isascii() and word.isdigit() and len(word) < 10:
        return min(float(word), _RETRY_MOST_S)
    try:
        seconds = parsedate_to_datetime(word).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), _RETRY_MOST_S)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as e:
        raise HalfopenError("ca-file", f"{ca_file}: {getattr(e, 'strerror', None) or e}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Deadline:
    """Shuts a socket down at a set time: a server that sends a byte a second would never run into the
    socket's timeout.
    """

    def __init__(self, sock: socket.socket, seconds: float, late: threading.Event) -> None:
        self._sock, self._late = sock, late
        self._timer = threading.Timer(seconds, self._end)
        self._timer.name, self._timer.daemon = "halfopen-deadline", True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self._late.set()
        try:
            # The socket below TLS, which nothing else uses.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass
