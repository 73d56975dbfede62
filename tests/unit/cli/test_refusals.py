"""How the command line refuses what it was given: one line, in words that say what is wrong."""

from __future__ import annotations

import os

import pytest

from run import told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lab", "--half-open", "1e9"), "'1e9' is not an integer"),
        (("lab", "--rate", "fast"), "'fast' is not a number"),
        (("list", "--listener", b"\xff:1"), r"'\xff' is not an address"),
    ],
    ids=["a whole number", "a number", "no UTF-8"],
)
def test_a_value_is_refused_in_plain_words(words: tuple[str | bytes, ...], said: str) -> None:
    done = told(*map(os.fsdecode, words))
    assert done.returncode == 2
    assert said in done.stderr
    assert "range" not in done.stderr
    assert "udc" not in done.stderr
