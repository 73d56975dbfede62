"""What cures of connections ask and say, in both languages, and that no word of the outcome stays English."""

from __future__ import annotations

import io
import string
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from rich.console import Console

from halfopen.core import closing_filter
from halfopen.core.closing_filter import ClosingFilter, peer
from halfopen.core.policy import connection_notes
from halfopen.core.policy.connection_actions import ChangedConnections
from halfopen.core.policy.connection_notes import NOTES
from halfopen.present import closing_changes, language

FILTER = ClosingFilter(("java", "web"), (8,), (peer(":5432"),), 90.0, ("end-read",), ((None, 8080),))
OUTCOME = ChangedConnections(
    "keepalive", "self", FILTER.describe(), matched=3, done=2, spared=1, way="bpf", record="1f"
)


@pytest.fixture
def chinese() -> Iterator[None]:
    language.prefer("zh")
    yield
    language.prefer(language.ENGLISH)


def said(outcome: ChangedConnections, width: int = 200) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False)
    closing_changes.show(out, outcome)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def filled(text: str) -> str:
    names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
    return text.format(**{name: "3 connections" if name == "connections" else "17" for name in names})


def test_the_outcome_in_english() -> None:
    assert said(OUTCOME).splitlines() == [
        "2 connections have keepalive on (of java or web, in CLOSE_WAIT, on :8080, with :5432, idle for 90 s, of the "
        "kind end-read)",
        "matched 3, left alone as they had changed 1, failed 0; 0.00 s, each was checked under its own lock",
        "Undo  halfopen closing keepalive --undo 1f",
    ]
    assert said(replace(OUTCOME, done=1)).startswith("1 connection has keepalive on")
    assert "nothing was changed" in said(replace(OUTCOME, matched=0))


@pytest.mark.parametrize("how", ["keepalive", "probe", "shutdown", "destroy", "undo"])
@pytest.mark.parametrize("stage", ["asked", "would", "done", "none"])
def test_every_outcome_is_chinese(chinese: None, how: str, stage: str) -> None:
    outcome = replace(OUTCOME, how=how, filter="all", record="", dry_run=stage == "would", answered=1, silent=1)
    outcome = replace(outcome, forgotten=0, window_ms=3.0, matched=0 if stage == "none" else 3)
    if stage == "asked":
        _, question, nothing = closing_changes.question(outcome)
        text = question + nothing
    else:
        text = said(outcome)
    words = "".join(text.split())
    for kept in ("keepalive", "FIN", "RST", "0.00", "3ms"):
        words = words.replace(kept, "")
    assert not any(c.isascii() and c.isalpha() for c in words), text


@pytest.mark.parametrize("note", [note for note in NOTES if note != connection_notes.RECORD])
def test_every_note_is_known_by_its_pattern(chinese: None, note: str) -> None:
    with language.spoken():
        [told] = closing_changes.notes(replace(OUTCOME, notes=(filled(note),)))
        assert told == language.tr(note, **{n: "3 条连接" if n == "connections" else "17" for n in _names(note)})
    assert told != filled(note)


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_a_filter_is_chinese_too(chinese: None) -> None:
    with language.spoken():
        told = closing_changes.chosen(FILTER.describe())
        parts = ("进程 java 或 web", "状态 CLOSE_WAIT", "监听 :8080", "对端 :5432", "空闲至少 90 秒", "类型 end-read")
        assert told == language.tr(", ").join(parts)
        assert closing_changes.chosen(closing_filter.ALL) == "全部"
        assert closing_changes.chosen(connection_notes.RECORD.format(id="1f")) == "记录 1f"


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_screen(chinese: None, width: int) -> None:
    told = said(replace(OUTCOME, notes=tuple(map(filled, NOTES))), width)
    assert max(map(language.cell_width, told.splitlines()[:-1])) <= width
