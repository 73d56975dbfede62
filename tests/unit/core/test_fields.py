"""The registry and what is made from it name the same things."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from halfopen.core import fields
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.present import jsonout, rows
from rows import listener, part, request, sample

DOCS = Path(__file__).parents[3] / "docs" / "json.md"
REGISTRIES = {"LIST": fields.LIST, "LISTENER": fields.LISTENER, "SOURCE": fields.SOURCE}


@pytest.mark.parametrize("name", REGISTRIES)
def test_names_are_unique_and_say_something(name: str) -> None:
    found = REGISTRIES[name]
    assert len({f.name for f in found}) == len(found)
    for field in found:
        assert field.name.isidentifier()
        assert field.help
        assert "\n" not in field.help
        assert field.title == field.title.upper()
        assert field.width >= len(field.title)
        assert field.unit in ("", "s")
        assert not field.name.endswith("_s") or field.unit == "s"


def test_the_list_keeps_the_names_that_stay() -> None:
    stay = "netns family local_address local_port remote_address remote_port age_s retransmits expires_s deferred"
    stay += " may_have_answered"
    assert [f.name for f in fields.LIST] == stay.split()
    model = build(sample([request()], [listener()]))
    shown = [part(model)]
    [line] = rows.ndjson_lines(shown)
    assert list(json.loads(line)) == stay.split()
    assert next(rows.csv_lines(shown)).splitlines()[0] == ",".join(stay.split())
    assert all(f"`{name}`" in DOCS.read_text() or f'"{name}"' in DOCS.read_text() for name in stay.split())


def test_counters_are_named_once() -> None:
    assert len(set(fields.COUNTERS)) == len(fields.COUNTERS)


def test_a_source_is_shown_by_the_registrys_names() -> None:
    model = build(sample([request()], [listener()]))
    document = jsonout.status([model], [judge(model)], [])
    assert list(document["namespaces"][0]["sources"][0]) == [f.name for f in fields.SOURCE]
