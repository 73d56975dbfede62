"""Access to the page: links that work once, and sessions.

Both are passes, signed with a key that the two processes of the service share and that ends with them. The eyes make
links; the face, which has no privileges, accepts them, and remembers only which were used. A face that replaces another
accepts no earlier link, as it cannot know which were used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import time
from enum import Enum
from typing import Final

LINK_S: Final = 120.0
"""A link must be opened within this time, s."""
KEY_BYTES: Final = 32
_NONCE: Final = 8
_MAC: Final = 16
_NS: Final = 10**9
_TEXT_MOST: Final = 64


class PassKind(Enum):
    """The two kinds of passes; the value is part of the signed text."""

    LINK = b"link"
    SESSION = b"session"


def now_ns() -> int:
    """The clock of passes: monotonic, so that it cannot be set, and the same in both processes."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def make(key: bytes, kind: PassKind, lasts_s: float, at_ns: int | None = None) -> str:
    """A new pass, valid for `lasts_s` from now or from at_ns (`now_ns`)."""
    made_ns = now_ns() if at_ns is None else at_ns
    body = made_ns.to_bytes(8, "big") + (made_ns + int(lasts_s * _NS)).to_bytes(8, "big") + os.urandom(_NONCE)
    return base64.urlsafe_b64encode(body + _signed(key, kind, body)).decode()


def _signed(key: bytes, kind: PassKind, body: bytes) -> bytes:
    return hmac.digest(key, kind.value + b"\0" + body, hashlib.sha256)[:_MAC]


class PassControl:
    """Checks passes; for one thread of one process."""

    def __init__(self, key: bytes, session_s: float, *, first: bool = True) -> None:
        """session_s: how long a session lasts. first: no other process has accepted passes of this key before."""
        self.session_s = session_s
        self._key = key
        self._since_ns = 0 if first else now_ns()
        self._used: dict[bytes, int] = {}

    def opened(self, link: str) -> str | None:
        """Open a link: returns a new session; None if the link is invalid, too old or used."""
        body = self._body(PassKind.LINK, link)
        if body is None or int.from_bytes(body[:8], "big") < self._since_ns or body in self._used:
            return None
        now = now_ns()
        self._used = {one: until for one, until in self._used.items() if until > now}
        self._used[body] = int.from_bytes(body[8:16], "big")
        return make(self._key, PassKind.SESSION, self.session_s)

    def admits(self, session: str) -> bool:
        """Whether a session is valid."""
        return self.left_s(session) > 0

    def left_s(self, session: str) -> float:
        """How long a session is still valid, s; 0 if it is not."""
        body = self._body(PassKind.SESSION, session)
        return 0.0 if body is None else (int.from_bytes(body[8:16], "big") - now_ns()) / _NS

    def _body(self, kind: PassKind, text: str) -> bytes | None:
        """The content of a pass if it is genuine and not expired, otherwise None."""
        if len(text) > _TEXT_MOST or not text.isascii():
            return None
        try:
            data = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, mac = data[:-_MAC], data[-_MAC:]
        if len(body) != 16 + _NONCE or not hmac.compare_digest(mac, _signed(self._key, kind, body)):
            return None
        return body if int.from_bytes(body[8:16], "big") > now_ns() else None
