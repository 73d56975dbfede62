"""How the command line refuses what it was given: one line, in words that say what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def refused(*words: str | bytes) -> str:
    argv = [os.fsencode(word) for word in (sys.executable, "-m", "halfopen", *words)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    return done.stderr


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
    text = refused(*words)
    assert said in text
    assert "range" not in text
    assert "udc" not in text
