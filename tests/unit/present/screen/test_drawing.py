"""The screen as lines: whole screens against files, and what holds for every size."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import live as made
from halfopen.core.live import Live, LiveDetails
from halfopen.core.sample import Completeness
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.help import help_lines
from halfopen.present.screen.state import Page, Question, ScreenState
from halfopen.present.screen.styled import plain, styled

HERE = Path(__file__).parent
SIZES = ((80, 24), (140, 40))


class _Utc(datetime):
    @classmethod
    def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> _Utc:
        return super().fromtimestamp(timestamp, tz or UTC)


@pytest.fixture(autouse=True)
def plain_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time and the same privileges everywhere."""
    monkeypatch.setattr("halfopen.present.screen.drawing.datetime", _Utc)
    monkeypatch.setattr("halfopen.present.commands.may_change", lambda: True)
    monkeypatch.setattr("halfopen.present.commands.may_load", lambda: True)


def details() -> LiveDetails:
    before = Workers(98.0, {4711: WorkerState(4711, 1, "S", ("ep_poll",), ran_s=1.0)})
    now = WorkerState(4711, 1, "S", ("ep_poll",), descriptors=12, descriptor_limit=1024, ran_s=1.06)
    workers = Workers(100.0, {4711: now}, earlier=before)
    return LiveDetails(1, made.KEY, (0, 0, 300, 0, 0, 0, 0), None, "eBPF is refused", workers)


@functools.cache
def scenes() -> dict[str, tuple[Live, ScreenState]]:
    question = Question("Release 300 half-open connections (older than 3 s, on :8080)?", (styled("a note"),), ages=True)
    several = made.live(made.calm("db"), made.space(made.flooded(where=made.named("web"))))
    page = {page: ScreenState(several=page is Page.NAMESPACES, page=page, listener=made.KEY) for page in Page}
    return {
        "listeners": (made.live(), page[Page.LISTENERS]),
        "question": (made.live(), page[Page.LISTENERS].with_question(question)),
        "details": (made.live(details=details()), page[Page.DETAILS]),
        "namespaces": (several, page[Page.NAMESPACES]),
        "help": (made.live(), page[Page.LISTENERS].with_text("Help", help_lines())),
    }


@pytest.mark.parametrize(("columns", "rows"), SIZES)
@pytest.mark.parametrize("name", scenes())
def test_a_screen_is_what_it_was(name: str, columns: int, rows: int) -> None:
    """HALFOPEN_WRITE_SCREENS=1 writes the files anew: look at them before they are committed."""
    lines = draw(*scenes()[name], columns, rows)
    assert len(lines) == rows
    assert all(cell_len(plain(line)) <= columns for line in lines)
    path = HERE / "screens" / f"{name}-{columns}x{rows}.txt"
    text = made.shown(lines)
    if os.environ.get("HALFOPEN_WRITE_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("name", scenes())
def test_every_size_is_filled_and_never_exceeded(name: str) -> None:
    for columns in (60, 80, 133):
        for rows in (15, 24, 50):
            lines = draw(*scenes()[name], columns, rows)
            assert len(lines) == rows
            assert max(cell_len(plain(line)) for line in lines) <= columns
            assert "quit" in plain(lines[-1]) or "back" in plain(lines[-1]) or "no" in plain(lines[-1])


@pytest.mark.parametrize(("columns", "rows"), [(59, 24), (80, 14), (20, 5), (1, 1)])
def test_a_terminal_that_is_too_small_says_so(columns: int, rows: int) -> None:
    lines = [plain(line) for line in draw(made.live(), ScreenState(), columns, rows)]
    assert len(lines) <= rows
    assert max(map(cell_len, lines)) <= columns
    assert columns < 20 or " ".join(lines) == f"{columns}x{rows} is too small: top needs 60x15; q quits"


def test_before_the_first_reading_there_is_a_frame() -> None:
    lines = draw(Live(), ScreenState(), 80, 24)
    assert len(lines) == 24
    assert "Reading" in made.shown(lines)


def text(state: ScreenState = ScreenState(), live: Live | None = None, **size: int) -> str:  # noqa: B008
    return made.shown(draw(live or made.live(), state, size.get("columns", 100), size.get("rows", 30)))


def test_a_full_queue_has_a_whole_bar_and_an_empty_one_none() -> None:
    lines = text().splitlines()
    [web] = [line for line in lines if line.startswith("> :8080")]
    assert "«" in web
    [idle] = [line for line in lines if line.startswith("  :443")]
    assert "«" not in idle
    [full] = [line for line in lines if line.startswith("  192.0.2.7:9000")]
    assert "17/17»" in full


def test_the_filter_keeps_rows_and_says_so() -> None:
    found = text(ScreenState(filter="nginx"))
    assert ":443" in found
    assert "4711" not in found
    assert "filter: nginx" in found
    assert "no listener has 'x y' in its row" in text(ScreenState(filter="x y"))


def test_sorted_by_port() -> None:
    lines = text(ScreenState(sort="port")).splitlines()
    ports = [line.split()[0 if line[0] == " " else 1] for line in lines if line[2:].startswith((":", "192"))]
    assert ports[:3] == [":443", ":8080", "192.0.2.7:9000"]


def test_an_inverted_order_says_so_and_the_column_is_marked() -> None:
    lines = draw(made.live(), ScreenState(sort="half-open", reverse=True), 100, 30)
    assert "by half-open, inverted" in plain(lines[0])
    rows = [plain(line)[2:].split()[0] for line in lines if plain(line)[2:].startswith((":", "192"))]
    assert rows[:3] == [":443", "192.0.2.7:9000", ":8080"]
    [titles] = [line for line in lines if plain(line).split()[:2] == ["LISTENER", "HALF-OPEN"]]
    assert [text for text, style in titles if "underline" in style] == ["HALF-OPEN"]


def test_what_could_not_be_read_is_said() -> None:
    model = made.flooded(completeness=Completeness("proc", notes=("owners: run as root",), problems=("by /proc",)))
    found = text(live=made.live(made.space(model, trouble="it is gone")), rows=40)
    for words in ("owners: run as root", "by /proc", "it is gone"):
        assert words in found


def test_nothing_a_terminal_obeys_comes_through() -> None:
    model = made.flooded(where=made.named("a\x1b[2Jb"))
    state: Any = ScreenState(notice="one\x1b]0;x\x07", filter="")
    assert "\x1b" not in text(state, made.live(made.space(model)))


def test_syns_that_were_not_counted_are_marked() -> None:
    uncounted = made.space(minute=made.minute(10))
    assert "~108/s" in text(live=made.live(uncounted))
    assert "~" not in text().replace("~~", "")


def test_without_utf_8_there_is_none() -> None:
    lines = draw(made.live(), ScreenState(), 100, 30, ascii_only=True)
    assert not any(c in made.shown(lines) for c in "▁▂▃▄▅▆▇█")


def test_a_long_address_on_a_narrow_screen_costs_columns_and_cuts_none() -> None:
    views = made.flooded().listeners
    for address, last in (("2001:db8::1", "ACCEPT QUEUE"), ("2001:db8:aa:bb::1", "OLDEST")):
        model = replace(made.flooded(), listeners=(replace(views[0], address=address), *views[1:]))
        lines = text(live=made.live(made.space(model)), columns=60).splitlines()
        [titles] = [line for line in lines if "SYN QUEUE" in line]
        assert titles.endswith(last)
