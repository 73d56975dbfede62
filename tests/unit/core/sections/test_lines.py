"""The lines of keys: found in whatever TOML may look like, and for whatever tomllib takes."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.sections.lines import KeyPath, lines_of

FILE = '''\
# a comment with a = sign and [brackets]
interval = "1s" # interval = 2
text = """
listener = ":80"
a quote \\""" and ""two"""
literal = \'\'\'
[release]
\'\'\'

[alarm]
  minimum = 50
calm="10s"
[ "odd name" . 'inner' ]
"a.b" = 1
c . d = 2
[[release]]
name = "one"
sources = [
  "10.0.0.0/8", # [not] a header
  "192.0.2.0/24",
]
inline = { x = 1, y = { z = [1,
2] }, "q" = '}' }

[[release]]
name = "two"
[release.more]
when = 1979-05-27 07:32:00
[[release.deep]]
k = 1
[[release.deep]]
k = 2
'''


def test_every_key_has_its_line() -> None:
    lines = lines_of(FILE)
    wanted: dict[KeyPath, int] = {
        ("interval",): 2,
        ("text",): 3,
        ("literal",): 6,
        ("alarm",): 10,
        ("alarm", "minimum"): 11,
        ("alarm", "calm"): 12,
        ("odd name", "inner"): 13,
        ("odd name", "inner", "a.b"): 14,
        ("odd name", "inner", "c", "d"): 15,
        ("release",): 16,
        ("release", 0): 16,
        ("release", 0, "name"): 17,
        ("release", 0, "sources"): 18,
        ("release", 0, "sources", 1): 20,
        ("release", 0, "inline", "y", "z"): 22,
        ("release", 0, "inline", "q"): 23,
        ("release", 1): 25,
        ("release", 1, "name"): 26,
        ("release", 1, "more", "when"): 28,
        ("release", 1, "deep", 0, "k"): 30,
        ("release", 1, "deep", 1, "k"): 32,
    }
    assert {path: lines.get(path) for path in wanted} == wanted
    assert lines_of(FILE.replace("\n", "\r\n")) == lines


def paths(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """Every key of a document, and every table in an array of tables."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in ((*path, key), *paths(inner, (*path, key)))]
    if isinstance(value, list):
        return [found for i, inner in enumerate(value) for found in ((*path, i), *paths(inner, (*path, i)))]
    return []


def test_no_key_is_forgotten() -> None:
    assert set(paths(tomllib.loads(FILE))) <= set(lines_of(FILE))


PIECES = st.sampled_from(
    [
        *(
            "a",
            "b = ",
            "= 1",
            "'x'",
            '"y"',
            '"""',
            "'''",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            ",",
            ".",
            "#",
            "\n",
            " ",
            "\\",
        ),
        *("a = 1\n", "[a]\n", "[[b]]\n", "[a.c]\n", "x = [1, {y = 2}]\n", 'k = """\n', "'q' = 2020-01-01 00:00:00\n"),
    ]
)


@examples(500)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_tomllib_takes(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert set(paths(document)) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@pytest.mark.parametrize("depth", [50, 600])
def test_deep_nesting_keeps_the_outer_lines(depth: int) -> None:
    text = "\na = 1\nx = " + "[" * depth + "]" * depth
    try:
        tomllib.loads(text)
    except (RecursionError, tomllib.TOMLDecodeError):
        return
    assert lines_of(text)["x",] == 3
