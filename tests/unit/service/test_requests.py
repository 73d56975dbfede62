"""Requests are strict, and no value of one can be taken for an option."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import UsageError
from halfopen.service.requests import AskCheck, AskHealth, AskList, AskStatus, arguments, parse


def asked(**words: object) -> bytes:
    return json.dumps(words).encode()


def test_what_may_be_asked() -> None:
    assert parse(asked(command="health")) == AskHealth()
    status = parse(asked(command="status", here=4026531840, width=80, colour=True, netns="all", json=True))
    assert status == AskStatus(here=4026531840, width=80, colour=True, netns="all", json=True)
    assert isinstance(status, AskStatus)
    assert set(arguments(status)) == {"status", "--direct", "--json", "--netns=all"}
    listed = parse(asked(command="list", older_than="10s", listener=[":443", ":80"], no_deferred=True, limit=0))
    assert isinstance(listed, AskList)
    assert set(arguments(listed)[2:]) == {
        "--older-than=10s",
        "--listener=:443",
        "--listener=:80",
        "--no-deferred",
        "--limit=0",
    }
    check = parse(asked(command="check", warning=["50"], critical=["oldest=60"]))
    assert isinstance(check, AskCheck)
    assert set(arguments(check)[2:]) == {"--warning=50", "--critical=oldest=60"}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 10_000,
        b'{"command":"release"}',
        b'{"command":"status","bogus":1}',
        b'{"command":"status","direct":false}',
        b'{"command":"status","netns":"/proc/1/ns/net"}',
        b'{"command":"status","netns":"a\\u0000b"}',
        b'{"command":"status","netns":""}',
        b'{"command":"status","width":1e9}',
        b'{"command":"status","width":-1}',
        b'{"command":"status","colour":"yes"}',
        b'{"command":"status","language":"zh_CN.UTF-8"}',
        b'{"command":"list","listener":":443"}',
        b'{"command":"list","format":"--help"}',
        asked(command="list", listener=[":1"] * 65),
        asked(command="list", older_than="x" * 257),
    ],
)
def test_what_may_not(line: bytes) -> None:
    with pytest.raises(UsageError, match="not a request"):
        parse(line)


@given(st.text(max_size=60))
def test_a_value_is_never_an_option(word: str) -> None:
    try:
        request = parse(asked(command="list", sort=word, source=[word], netns=word))
    except UsageError:
        return
    assert isinstance(request, AskList)
    words = arguments(request)
    assert words[:2] == ["list", "--direct"]
    assert all(one.startswith(("--sort=", "--source=", "--netns=")) for one in words[2:])
