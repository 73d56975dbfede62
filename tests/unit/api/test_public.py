"""The names that programs import stand in `__all__`, for type checkers, and in halfopen.api."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import halfopen
from halfopen import api


def test_every_public_name_is_there_for_programs_and_for_type_checkers() -> None:
    names = set(halfopen.__all__) - {"__version__"}
    assert all(getattr(halfopen, name) is getattr(api, name) for name in names)
    for_types = {
        alias.name
        for node in ast.walk(ast.parse(Path(halfopen.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "halfopen.api"
        for alias in node.names
    }
    assert for_types == names


def test_every_public_function_says_what_it_raises() -> None:
    for name in set(halfopen.__all__) - {"__version__"}:
        assert "Raises:" in (inspect.getdoc(getattr(halfopen, name)) or ""), name
