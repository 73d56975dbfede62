"""A notice is bounded and printable however it is made, and survives the way through a socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.errors import HalfopenError
from halfopen.core.notice import MOST_BYTES, Notice, NoticeFact, NoticeState, decode, encode

QUICK = examples(60)


def notice(**changes: Any) -> Notice:
    given = {
        "incident": "i-1",
        "state": NoticeState.FIRING,
        "host": "web-1",
        "netns": "self",
        "at_s": 2.0,
        "began_s": 1.0,
    }
    return Notice(**{**given, **changes})


def test_the_longest_notice_fits() -> None:
    long = "\U0001f600" * 5_000
    texts = dict.fromkeys(("incident", "host", "netns", "listener", "cause", "title", "log", "summary"), long)
    many = dict.fromkeys(("text", "cures", "actions"), (long,) * 100)
    facts = (NoticeFact(long, long, 1e300, long),) * 100
    made = notice(**texts, **many, evidence=facts)
    data = encode(made)
    assert MOST_BYTES / 4 < len(data) <= MOST_BYTES
    assert decode(data) == made
    assert made.title.endswith("…")


def test_no_text_breaks_a_line_or_is_obeyed() -> None:
    evil = "a\nb\x1b[31m\u202e\x00c\udc80"
    made = notice(title=evil, netns=evil, text=(evil,), actions=(evil,), evidence=(NoticeFact("x", evil),))
    assert made.title == made.netns == made.text[0] == made.actions[0] == made.evidence[0].value == "a?b?[31m??c?"
    assert b"\n" not in encode(made)


def test_the_latest_actions_are_kept() -> None:
    made = notice(actions=tuple(f"released {n}" for n in range(100)))
    assert made.actions[-1] == "released 99"
    assert len(made.actions) == 12


def test_numbers_alone_are_no_news() -> None:
    first = notice(cause="syn-flood")
    assert notice(cause="syn-flood", waiting=5, at_s=9.0, state=NoticeState.UPDATED).tells == first.tells
    for news in ({"cause": "path-cut"}, {"level": "critical"}, {"state": NoticeState.RESOLVED}, {"actions": ("x",)}):
        assert notice(**{"cause": "syn-flood", **news}).tells != first.tells


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a notice"),
        (b"{}", "not a notice"),
        (b"[" * 100_000, "not a notice"),
        (b'{"incident":' + b" " * MOST_BYTES, "too long"),
        (encode(notice()).replace(b'"version":1', b'"version":2'), "version 2"),
        (encode(notice()).replace(b'"firing"', b'"on fire"'), "not a notice"),
        (encode(notice()).replace(b"2.0", b'"2"'), "not a notice"),
    ],
    ids=range(7),
)
def test_bytes_that_are_no_notice(data: bytes, says: str) -> None:
    with pytest.raises(HalfopenError, match=says):
        decode(data)


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_a_notice_or_refused(data: bytes) -> None:
    with pytest.raises(HalfopenError):
        decode(data)
