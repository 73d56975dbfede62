"""Answers to HTTP requests for metrics: the small part of HTTP that a scraper needs."""

from __future__ import annotations

import re
from typing import Final

HEAD_MOST: Final = 8192
"""The longest request line with its header fields, bytes."""

_REQUEST: Final = re.compile(rb"([A-Z]{1,16}) (\S{1,2048}) HTTP/1\.[01]\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")
_PATH: Final = b"/metrics"
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PLAIN: Final = b"text/plain; charset=utf-8"


def answer(head: bytes, text: bytes) -> tuple[bytes, bytes] | None:
    """The head and the body of the answer to a request with these first bytes: `text` to GET /metrics, an error to
    anything else; None: the head is not complete. A body of the request is ignored.
    """
    if b"\n" not in head and len(head) < HEAD_MOST:
        return None
    request = _REQUEST.match(head)
    if request is None:
        return _made(b"400 Bad Request", b"not an HTTP request\n")
    if not _END.search(head):
        return None if len(head) < HEAD_MOST else _made(b"431 Request Header Fields Too Large", b"too long\n")
    method, target = request.groups()
    if target.partition(b"?")[0] != _PATH:
        return _made(b"404 Not Found", b"the metrics are at /metrics\n")
    if method != b"GET":
        return _made(b"405 Method Not Allowed", b"only GET\n", b"Allow: GET\r\n")
    return _made(b"200 OK", text, kind=_TEXT)


def _made(status: bytes, body: bytes, more: bytes = b"", kind: bytes = _PLAIN) -> tuple[bytes, bytes]:
    length = str(len(body)).encode()
    lines = b"Content-Type: " + kind + b"\r\nContent-Length: " + length + b"\r\nCache-Control: no-store\r\n" + more
    return b"HTTP/1.1 " + status + b"\r\n" + lines + b"Connection: close\r\n\r\n", body
