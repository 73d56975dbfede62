"""What the documents say, docs/json.md of names and their types above all, held against what was really made."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READMES = ("README.md", "README.zh-CN.md")
_ROW = re.compile(r"^\| `([^`]+)` \| ([a-z ]+) \|", re.MULTILINE)


def text(name: str) -> str:
    """A document of this tree."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(schema: str) -> str:
    """What docs/json.md says of a schema. Raises: AssertionError."""
    found = re.search(rf"^## {re.escape(schema)}\n(.*?)(?=^## |\Z)", text("docs/json.md"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/json.md has no section {schema}"
    return found[1]


def types(part: str) -> dict[str, set[str]]:
    """Name → the types that the tables of a section of docs/json.md give it, each of several in its table."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, words in _ROW.findall(part):
        found[name] |= set(words.split(" or "))
    return dict(found)


def wrong(document: Any, documented: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Each name in a document with the type of its value, where the documentation gives the name other types."""
    return {
        (name, type_of(value))
        for name, value in _values(document)
        if name in documented and not _fits(value, documented[name])
    }


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner)


def type_of(value: Any) -> str:
    """The type of a value, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return {str: "string", list: "array", dict: "object"}[type(value)]


def _fits(value: Any, documented: set[str]) -> bool:
    if isinstance(value, list):
        return "array" in documented or any(
            f"array of {kind}s" in documented and all(type_of(inner) == kind for inner in value)
            for kind in ("string", "number")
        )
    return type_of(value) in documented
