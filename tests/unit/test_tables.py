"""Tables of the documents are those of the registries they are made of."""

from __future__ import annotations

import re

import pytest

import build_docs
from documented import READMES, text
from halfopen.core.fields.metrics import LISTENER_METRICS, NAMESPACE_METRICS, WATCH_METRICS
from halfopen.core.findings.all_rules import RULES


@pytest.mark.parametrize("name", build_docs.DOCUMENTS)
def test_tables_are_those_of_the_registries(name: str) -> None:
    assert build_docs.made(text(name)) == text(name), "run `make docs`"
    assert text(name).count("<!-- end -->") == text(name).count("<!-- made by scripts/build_docs.py: ") > 0


def test_every_table_of_the_registries_is_in_a_document() -> None:
    named = re.findall(r"<!-- made by scripts/build_docs.py: (\S+) -->", "".join(map(text, build_docs.DOCUMENTS)))
    assert set(named) == set(build_docs.TABLES)


def test_the_chinese_table_of_causes_has_the_same_rows() -> None:
    """It is written by hand: the ids, their order and what is to be typed are those of the registry's table."""

    def rows(name: str) -> list[tuple[str, list[str]]]:
        found = re.findall(r"^\| [^|]+ \| `([a-z-]+)` \| ([^|]+) \|$", text(name), re.MULTILINE)
        return [(id, re.findall(r"`(halfopen [^`]+)`", advice)) for id, advice in found]

    english, chinese = map(rows, READMES)
    assert len(english) > 10
    assert english == chinese


def test_every_metric_is_documented_and_no_other() -> None:
    rows = re.findall(
        r"^\| `halfopen_(\w+)` \| (gauge|counter|summary|histogram) \|", text("docs/metrics.md"), re.MULTILINE
    )
    known = [(f.name, f.kind.value) for f in (*NAMESPACE_METRICS, *LISTENER_METRICS, *WATCH_METRICS)]
    assert rows == [(name + "_total" * (kind == "counter"), kind) for name, kind in known]
    used = set(re.findall(r"halfopen_\w+", text("docs/metrics.md")))
    assert used == {f"halfopen_{name}" for name, _ in rows}


def test_tables_of_the_documents_are_as_their_registry_has_them() -> None:
    table = text("docs/json.md").partition("### Findings")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(RULES)
