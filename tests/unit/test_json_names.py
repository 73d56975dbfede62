"""docs/json.md and the documents say the same: every name, its type, and the examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from documented import section, types, wrong
from json_documents import SCHEMAS, every

# Objects whose keys are the kernel's names: named in the text, not in a table.
MAPS = {"settings", "counters", "rates_per_s", "passed"}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Schema → documents of it."""
    return every(tmp_path_factory.mktemp("audit"))


def keys(value: Any, inside_map: bool = False) -> Iterator[tuple[str, bool]]:
    """Every key in a document, and whether it is one of a map of the kernel's names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inside_map
            yield from keys(inner, key in MAPS)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def tabled(part: str) -> set[str]:
    """Names in the first column of a section's tables of names."""
    names, wanted = set(), False
    for line in part.splitlines():
        if line.startswith("| Name "):
            wanted = True
        elif not line.startswith("|"):
            wanted = False
        elif wanted and (cell := re.match(r"\| `([^`]+)` \|", line)):
            names.add(cell[1])
    return names


def test_every_schema_has_its_documents(emitted: dict[str, list[Any]]) -> None:
    assert sorted(emitted) == sorted(SCHEMAS)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_json_name_is_documented(schema: str, emitted: dict[str, list[Any]]) -> None:
    part = section(schema)
    in_tables, in_text = tabled(part), set(re.findall(r"`([^`\n]+)`", part))
    found = set(keys(emitted[schema]))
    assert {key for key, in_map in found if not in_map} - in_tables == set()
    assert {key for key, in_map in found if in_map} - in_text == set()


# `login_uid` depends on how the test was started.
@pytest.mark.parametrize("schema", SCHEMAS)
def test_no_documented_name_is_gone(schema: str, emitted: dict[str, list[Any]]) -> None:
    assert tabled(section(schema)) - {key for key, _ in keys(emitted[schema])} - {"login_uid"} == set()


@pytest.mark.parametrize("schema", SCHEMAS)
def test_values_have_the_documented_types(schema: str, emitted: dict[str, list[Any]]) -> None:
    documented = types(section(schema))
    assert len(documented) > 5
    assert wrong(emitted[schema], documented) == set()


def test_a_value_of_another_type_is_found() -> None:
    documented = types("| `a` | number or null | x |\n| `b` | array of strings | x |\n| `c` | boolean | x |\n")
    assert wrong([{"a": 1, "b": ["x"], "c": True}, {"a": None, "b": []}], documented) == set()
    assert wrong({"a": "1", "b": [1], "c": 0}, documented) == {("a", "string"), ("b", "array"), ("c", "number")}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_examples_are_such_documents(schema: str, emitted: dict[str, list[Any]]) -> None:
    blocks = re.findall(r"```json\n(.*?)```", section(schema), re.DOTALL)
    assert blocks
    known = {key for key, _ in keys(emitted[schema])}
    for block in blocks:
        try:
            documents = [json.loads(block)]
        except json.JSONDecodeError:
            documents = [json.loads(line) for line in block.splitlines()]
        for document in documents:
            assert document["schema"] == schema
            assert {key for key, _ in keys(document)} - known == set()
