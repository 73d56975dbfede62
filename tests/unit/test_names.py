"""One name, one thing: no two files of src/halfopen have a public class or type of the same name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"


@cache
def _trees() -> dict[Path, ast.Module]:
    """Every file of src, parsed."""
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(SRC.rglob("*.py"))}


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
    for path, tree in _trees().items():
        for name in _types(tree):
            if not name.startswith("_"):
                named[name].append(str(path.relative_to(SRC)))
    assert len(named) > 100
    assert {name: files for name, files in named.items() if len(files) > 1} == {}


def test_no_import_is_renamed_to_dodge_a_clash() -> None:
    """`as` is for libraries' customs (np), for private use and for re-export under the same name."""
    renamed = []
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("halfopen"):
                renamed += [
                    f"{path.relative_to(SRC)}: {one.name} as {one.asname}"
                    for one in node.names
                    if one.asname not in (None, one.name) and not (one.asname or "").startswith("_")
                ]
    assert renamed == []
