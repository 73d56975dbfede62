"""Cells of screens in the language that is spoken."""
# ruff: noqa: RUF001 (Chinese punctuation is meant)

from __future__ import annotations

from typing import Any

import pytest

from halfopen.core.fields.field import Field, chosen
from halfopen.core.fields.listener import LISTENER
from halfopen.core.model.model import build
from halfopen.present.language import spoken
from halfopen.present.told_cells import told_cell
from rows import listener, request, sample


def field(name: str, text: str) -> Field[Any]:
    return Field(name, "", title="TITLE", show=lambda _: text)


@pytest.mark.parametrize(
    ("name", "text", "chinese"),
    [
        ("retransmits", "47 at 8, 69 at 10", "47（8 次）, 69（10 次）"),
        ("retransmits", "9 at 0-3, 77 at 8-10", "9（0-3 次）, 77（8-10 次）"),
        ("retransmits", "1/2/3", "1/2/3"),
        ("half_open", "1,200 (+30 deferred)", "1,200（+30 待数据）"),
        ("half_open", "1,200 (+1,030 answered)", "1,200（+1,030 已应答）"),
        ("process", "47 at 8 (+1 deferred)", "47 at 8 (+1 deferred)"),
    ],
)
def test_the_words_of_a_cell(name: str, text: str, chinese: str) -> None:
    assert told_cell(field(name, text), None) == text
    with spoken("zh"):
        assert told_cell(field(name, text), None) == chinese


def test_cells_of_a_listener_hold_no_english() -> None:
    waits = [request(source_port=i + 1, cookie=i + 1, retransmits=4, expires_ms=500) for i in range(9)]
    [view] = build(sample(waits, [listener()])).listeners
    [one] = chosen(LISTENER, "retransmits")
    with spoken("zh"):
        assert told_cell(one, view) == "9（4 次）"
