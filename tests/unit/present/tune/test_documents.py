"""The JSON documents of `tune`: every name is in docs/json.md, and every test that docs/settings.md names exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from documented import ROOT, section, text, types, wrong
from halfopen.core.policy.actions import Undo
from halfopen.core.tune import false_cures, settings
from halfopen.core.tune.outcomes import Undid, Undone
from halfopen.core.tune.shown import Shown
from halfopen.present.tune import changes, history, listeners, overview
from tune_made import (
    DONE,
    ON_LISTENER,
    OVERRIDES,
    RUNNING,
    SOCKET,
    UNREAD,
    VALUES,
    journal,
    tuned,
)


def documents() -> dict[str, Any]:
    cures = [(false_cures.FALSE_CURES[0], None)]
    undone = Undone(journal()[0][0], "undone", 5, True)
    outcome = tuned(DONE, ON_LISTENER, by="child", overrides=OVERRIDES, notes=("note",), keep=(SOCKET,))
    outcome = replace(outcome, overdue=(undone,))
    undid = Undid(Undo(None), (undone,), (undone,))
    made = [
        overview.document(Shown("self", 7, settings.advise(VALUES), cures, [SOCKET], unread=UNREAD)),
        changes.apply_document(outcome, None, [SOCKET]),
        changes.undo_document(undid, None),
        listeners.document("self", [RUNNING], 4096, 5, outcome),
        history.document("/x", journal()),
    ]
    return {document["schema"]: document for document in made}


def names_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


@pytest.mark.parametrize("schema", documents())
def test_every_name_is_documented_and_every_example_is_such_a_document(schema: str) -> None:
    part = section(schema)
    names = set(names_in(documents()[schema]))
    assert names - set(re.findall(r"`([^`\n]+)`", part)) == set()
    assert set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)) - names == set()
    assert wrong(documents()[schema], types(part)) == set()
    [block] = re.findall(r"```json\n(.*?)```", part, re.DOTALL)
    example = json.loads(block)
    assert (example["schema"], set(names_in(example)) - names) == (schema, set())


def test_every_old_cure_has_a_test_that_is_there() -> None:
    settings_md = text("docs/settings.md")
    files = [ROOT / f"tests/kernel/{name}.py" for name in ("test_tune", "test_tune_listener", "test_tune_checks")]
    tests = "".join(path.read_text(encoding="utf-8") for path in files)
    named = re.findall(r"`(test_\w+)`", settings_md)
    assert len(named) > 6
    assert [name for name in named if f"def {name}(" not in tests] == []
