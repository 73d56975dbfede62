"""A webhook after the Standard Webhooks specification (standardwebhooks.com): JSON, signed with hmac-sha256."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from halfopen.core.errors import HalfopenError
from halfopen.core.notice import Notice
from halfopen.core.sections.notify import NotifySettings
from halfopen.notify import secrets
from halfopen.notify.http_post import PostTarget, post
from halfopen.notify.receiver import Message

_PREFIX: Final = "whsec_"
# The specification requires 24 to 64 bytes.
_KEY_BYTES: Final = range(24, 65)


class Webhook:
    """Posts each message to a URL. The lines of the secret are keys (`whsec_…`), which all sign, so that keys can be
    rotated, and the URL if that is secret.
    """

    batch = 1

    def __init__(self, settings: NotifySettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now

    def send(self, messages: Sequence[Message], within_s: float) -> str:
        """Post one message."""
        [message] = messages
        words = secrets.of(self._settings)
        body = payload(message.notice)
        headers = {"Content-Type": "application/json", **signed(message.id, round(self._now()), body, keys(words))}
        url = next((word for word in words if not word.startswith(_PREFIX)), self._settings.url)
        return post(PostTarget(url, self._settings.ca_file, words), body, headers, within_s)


def payload(notice: Notice) -> bytes:
    """The body: `type`, `timestamp` and `data` as in the specification; `data` is the notice."""
    kind = "halfopen.test" if notice.test else f"halfopen.incident.{notice.state.value}"
    at = datetime.fromtimestamp(notice.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data: dict[str, Any] = msgspec.to_builtins(notice)
    return json.dumps({"type": kind, "timestamp": at, "data": data}, ensure_ascii=False).encode()


def keys(words: Sequence[str]) -> list[bytes]:
    """The keys among the lines of a secret. Raises: HalfopenError if one does not follow the specification."""
    found = []
    for word in words:
        if not word.startswith(_PREFIX):
            continue
        try:
            key = base64.b64decode(word.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise _bad("is not base64") from None
        if len(key) not in _KEY_BYTES:
            raise _bad(f"has {len(key)} bytes, and not 24 to 64")
        found.append(key)
    return found


def _bad(what: str) -> HalfopenError:
    hint = 'make one: echo "whsec_$(head -c 32 /dev/urandom | base64)"'
    return HalfopenError("secret", f"a signing key ({_PREFIX}…) {what}", hint=hint)


def signed(id: str, at_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of a message: its id, the time, and a signature by each key."""
    text = f"{id}.{at_s}.".encode() + body
    signatures = [base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode() for key in keys]
    headers = {"webhook-id": id, "webhook-timestamp": str(at_s)}
    if signatures:
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signatures)
    return headers
