"""Rows of a registry as a table, CSV and NDJSON."""

from __future__ import annotations

from halfopen.core.fields.field import Field, Kind
from halfopen.present.language import cell_width
from halfopen.present.listing import csv_lines, ndjson_lines, table

Chunk = list[tuple[str, int]]
FIELDS: tuple[Field[Chunk], ...] = (
    Field("name", "a name", lambda c: [name for name, _ in c], "string", kind=Kind.LABEL, title="NAME"),
    Field("n", "a number", lambda c: [n for _, n in c], title="N"),
    Field("odd", "whether it is odd", lambda c: [n % 2 == 1 for _, n in c], "boolean"),
)
FOUND: list[Chunk] = [[("网关", 1), ("web", 22)], [("a\x1b[31m", 3)]]


def test_columns_are_as_wide_as_a_terminal_shows_them() -> None:
    lines = list(table(FIELDS, FOUND, None))
    assert len({cell_width(line) for line in lines}) == 1, lines
    assert "\x1b" not in "".join(lines)


def test_csv_and_ndjson_have_every_field() -> None:
    assert "\n".join(csv_lines(FIELDS, FOUND)).split("\n") == [
        "name,n,odd",
        "网关,1,true",
        "web,22,false",
        "a?[31m,3,true",
    ]
    assert list(ndjson_lines(FIELDS, FOUND))[2] == '{"name":"a\\u001b[31m","n":3,"odd":true}'
