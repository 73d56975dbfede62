"""A child runs the code that its parent runs."""

from __future__ import annotations

import os

import pytest

from halfopen.linux.own_code import python_path
from run import SRC


def test_this_code_comes_before_what_the_variable_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/else/where")
    assert python_path().split(os.pathsep) == [str(SRC), "/else/where"]
    monkeypatch.delenv("PYTHONPATH")
    assert python_path() == str(SRC)
