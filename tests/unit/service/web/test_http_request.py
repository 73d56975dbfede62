"""Heads of requests: plain ones are read, and whatever two programs could read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.service.web.http_request import HttpRefusal, host_of, parse

PLAIN = b"GET /state?lang=zh HTTP/1.1\r\nHost: localhost:9765\r\nAccept: */*\r\n\r\n"


def test_a_plain_request() -> None:
    request = parse(PLAIN)
    assert (request.method, request.path, request.query) == ("GET", "/state", "lang=zh")
    assert request.fields == {"host": "localhost:9765", "accept": "*/*"}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2\r\nHost: a\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n", 431),
    ],
)
def test_what_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(HttpRefusal) as refused:
        parse(head)
    assert refused.value.status == status


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for head in (noise, PLAIN[:20] + noise, PLAIN[:-2] + noise + b"\r\n\r\n"):
        try:
            parse(head)
        except HttpRefusal:
            pass


@pytest.mark.parametrize(
    ("field", "host"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:1", "localhost"),
        ("[::1]:9765", "[::1]"),
        ("127.0.0.1:9765", "127.0.0.1"),
        ("evil.example:9765", "evil.example"),
        ("localhost:9765@evil.example", ""),
        ("localhost evil", ""),
        ("::1", ""),
        ("", ""),
    ],
)
def test_the_name_in_a_host(field: str, host: str) -> None:
    assert host_of(field) == host
