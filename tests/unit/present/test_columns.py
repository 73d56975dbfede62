"""Tables on narrow screens: the columns that matter most stay, and those that do not fit are named."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from halfopen.core.fields.connection import LIST
from halfopen.core.fields.field import Field
from halfopen.core.fields.listener import LISTENER
from halfopen.core.model.model import build
from halfopen.core.sample import Process
from halfopen.present import columns, rows
from rows import listener, part, request, sample


def field(name: str, spare: int) -> Field[str]:
    return Field(name, "", title=name.upper(), show=lambda s: s, spare=spare)


def test_the_highest_number_goes_first_and_the_rest_stays_where_it_was() -> None:
    fields = [field("a", 0), field("b", 2), field("c", 1), field("d", 3)]
    widths = [4, 4, 4, 4]
    assert columns.fitting(fields, widths, None) == [0, 1, 2, 3]
    assert columns.fitting(fields, widths, 22) == [0, 1, 2, 3]
    assert columns.fitting(fields, widths, 21) == [0, 1, 2]
    assert columns.fitting(fields, widths, 15) == [0, 2]
    assert columns.fitting(fields, widths, 1) == [0]


def test_a_wide_column_that_does_not_fit_keeps_no_narrow_one_out() -> None:
    assert columns.fitting([field("a", 0), field("wide", 1), field("b", 2)], [4, 90, 4], 80) == [0, 2]


def test_columns_with_one_number_stay_or_go_together() -> None:
    assert columns.fitting([field("a", 0), field("v4", 1), field("v6", 1)], [4, 4, 4], 10) == [0]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=10), st.integers(1, 200))
def test_what_is_kept_fits_or_could_not_be_left_out(of: list[tuple[int, int]], room: int) -> None:
    fields = [field(f"c{i}", spare) for i, (spare, _) in enumerate(of)]
    widths = [width for _, width in of]
    kept = columns.fitting(fields, widths, room)
    assert {i for i, (spare, _) in enumerate(of) if not spare} <= set(kept)
    assert sum(widths[i] + 2 for i in kept) - 2 <= room or all(not fields[i].spare for i in kept)


def shown(width: int) -> list[str]:
    who = Process(28543, "python3", "a-unit-with-a-long-name.service")
    model = build(sample([request(retransmits=3)], [listener(drops=5)], owners={1: (who,)}))
    out = io.StringIO()
    columns.show(Console(file=out, width=width), LISTENER, model.listeners)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_what_is_left_out_is_named_and_drops_are_not() -> None:
    heading, line, names = shown(80)
    assert len(heading) <= 80
    assert "DROPS" in heading
    assert line.split()[0] == ":8080"
    assert names.startswith("not shown at 80 columns: ")
    for title in ("PROCESS", "P99"):
        assert title not in heading
        assert title in names
    assert len(shown(200)) == 2


def test_a_column_of_nothing_that_could_be_read_is_left_out_without_a_word() -> None:
    fields: tuple[Field[str], ...] = (
        Field("a", "", title="A", show=str),
        Field("b", "", title="B", show=lambda s: "?"),
    )
    out = io.StringIO()
    assert columns.show(Console(file=out, width=80), fields, ["x"]) == {"a"}
    assert "B" not in out.getvalue()


@pytest.mark.parametrize("width", [40, 60, 300])
def test_a_list_names_what_it_leaves_out(width: int) -> None:
    lines = list(rows.table([part(build(sample([request()], [listener()])))], True, width))
    titles = [f.title for f in LIST if f.title]
    missing = [title for title in titles if title not in lines[0].split()]
    assert lines[2:] == ([f"not shown at {width} columns: {', '.join(missing)}"] if missing else [])
    assert bool(missing) == (width < 300)
