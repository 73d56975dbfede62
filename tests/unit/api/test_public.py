"""The names that programs import stand in `__all__`, for type checkers, and in halfopen.api."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
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


def test_what_is_there_for_type_checkers_is_there_for_programs() -> None:
    for_types = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(Path(api.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("halfopen.api")
        for alias in node.names
    }
    assert {name: getattr(api, name).__module__ for name in for_types if name is not None} == for_types


def test_a_release_loads_nothing_of_what_judges() -> None:
    asked = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from halfopen import api\n"
        "from halfopen.ops.release import release\n"
        "assert callable(api.release)\n"
        "print([name for name in sys.modules if name in ('halfopen.api.judging', 'halfopen.core.model.model')])"
    )
    out = subprocess.run([sys.executable, "-c", asked, *sys.path], capture_output=True, text=True, check=False)
    assert (out.stdout.strip(), out.stderr) == ("[]", "")


def test_every_public_function_says_what_it_raises() -> None:
    for name in set(halfopen.__all__) - {"__version__"}:
        assert "Raises:" in (inspect.getdoc(getattr(halfopen, name)) or ""), name
