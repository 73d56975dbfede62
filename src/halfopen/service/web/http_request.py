"""Parsing the head of an HTTP request, strictly: anything but a plain GET without a body is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

HEAD_MOST: Final = 8192
"""The longest request line with its header fields, bytes."""
_FIELDS_MOST: Final = 64
# RFC 9110: a token, a field value of visible characters; RFC 9112: no folded lines, no lone CR or LF.
_LINE: Final = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1023}) HTTP/1\.1")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
# Fields that may occur only once: a proxy and this server might use different ones otherwise.
_ONCE: Final = frozenset({"host", "authorization", "content-length", "origin", "sec-fetch-site"})


class HttpRefusal(Exception):
    """A request that is answered with this status; the connection is then closed."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class HttpRequest(Struct, frozen=True):
    """path, query: of the target, not decoded. fields: by name in lower case."""

    method: str
    path: str
    query: str
    fields: Mapping[str, str]


def parse(head: bytes) -> HttpRequest:
    """The request in a complete head, with or without the empty line. Raises: HttpRefusal."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    first = _LINE.fullmatch(lines[0])
    if first is None:
        raise HttpRefusal(400, "not a request of HTTP/1.1")
    if len(lines) > _FIELDS_MOST:
        raise HttpRefusal(431, "too many header fields")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise HttpRefusal(400, "a header field that is none")
        name = field[1].decode().lower()
        if name in fields and name in _ONCE:
            raise HttpRefusal(400, f"two {name} fields")
        fields[name] = field[2].decode("latin-1").strip(" \t")
    if "host" not in fields:
        raise HttpRefusal(400, "no Host")
    if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
        raise HttpRefusal(405 if first[1] != b"GET" else 400, "a request with a body")
    path, _, query = first[2].decode().partition("?")
    return HttpRequest(first[1].decode(), path, query, fields)


_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9.-]{1,253})(?::[0-9]{1,5})?")


def host_of(field: str) -> str:
    """The host name in a Host field or in an Origin without its scheme, without the port; empty if invalid."""
    found = _HOST.fullmatch(field.lower())
    return found[1] if found else ""
