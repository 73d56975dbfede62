"""One name, one thing: no two files of src/halfopen have a public class or type of the same name."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from halfopen.core import errors

SRC = Path(__file__).parents[2] / "src"
# Public classes with their bases, and imports, found by their text: to walk every tree for them takes seconds.
_CLASSES = re.compile(r"^class ([A-Za-z]\w*)\(([^()]+)\):", re.MULTILINE)
_IMPORTS = re.compile(r"^[ \t]*from halfopen[\w.]* import (?:\([^()]*\)|[^(\n]+)$", re.MULTILINE)


@cache
def _sources() -> dict[Path, str]:
    """The text of every file of src."""
    return {path: path.read_text("utf-8") for path in sorted(SRC.rglob("*.py"))}


def _types(tree: ast.Module) -> Iterator[str]:
    """The names of public classes, and of types and type variables made by assignment (`Name = …`)."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # Constants are in capitals throughout; a type variable of one letter is a local matter.
            yield from (t.id for t in targets if isinstance(t, ast.Name) and t.id[0].isupper() and not t.id.isupper())


def test_no_public_class_or_type_is_named_twice() -> None:
    named: dict[str, list[str]] = defaultdict(list)
    for path, source in _sources().items():
        for name in _types(ast.parse(source)):
            if not name.startswith("_"):
                named[name].append(str(path.relative_to(SRC)))
    assert len(named) > 100
    assert {name: files for name, files in named.items() if len(files) > 1} == {}


def _renamed(source: str) -> Iterator[ast.alias]:
    """What a source imports from halfopen under another name, unless that name is private."""
    for found in _IMPORTS.finditer(source):
        (statement,) = ast.parse(textwrap.dedent(found[0])).body
        assert isinstance(statement, ast.ImportFrom)
        for one in statement.names:
            if one.asname not in (None, one.name) and not (one.asname or "").startswith("_"):
                yield one


def test_a_renamed_import_is_found() -> None:
    source = "def f():\n    from halfopen.core import (\n        a,\n        b as _b,\n        c as d,\n    )\n"
    assert [one.asname for one in _renamed(source)] == ["d"]
    assert [
        one.asname for one in _renamed("from halfopen.core.x import y as z  # why\nfrom numpy import a as b\n")
    ] == ["z"]


def test_no_import_is_renamed_to_dodge_a_clash() -> None:
    """`as` is for libraries' customs (np), for private use and for re-export under the same name."""
    found = {path: [f"{one.name} as {one.asname}" for one in _renamed(source)] for path, source in _sources().items()}
    assert {path: names for path, names in found.items() if names} == {}
    assert sum(len(_IMPORTS.findall(source)) for source in _sources().values()) > 1000


def test_every_error_is_a_class_of_core_errors() -> None:
    """An error for people, with its id, exit code and hint. Private ones, and these, never leave the files that catch
    them."""
    own = {"halfopen/linux/files.py": {"Unsafe"}, "halfopen/service/web/http_request.py": {"HttpRefusal"}}
    known = {name for name in vars(errors) if isinstance(getattr(errors, name), type)} | {"Exception", "BaseException"}
    found: dict[str, set[str]] = defaultdict(set)
    for path, source in _sources().items():
        for name, bases in _CLASSES.findall(source):
            if known & {base.strip() for base in bases.split(",")}:
                found[str(path.relative_to(SRC))].add(name)
    assert len(found.pop("halfopen/core/errors.py")) > 10
    assert dict(found) == own
