"""Rows of any registry whose subjects are chunks: as a table, CSV or NDJSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, TypeVar

from halfopen.core.fields.field import Field, Kind, columns
from halfopen.core.units import printable
from halfopen.present.columns import GAP, fitting, left_out
from halfopen.present.language import cell_width, tr

C = TypeVar("C")
CellColumns = list[list[str]]
"""The cells of some rows, by column."""


def _valued(fields: Sequence[Field[C]]) -> list[Field[C]]:
    return [field for field in fields if field.get is not None]


def _values(field: Field[C], chunk: C) -> list[Any]:
    return [] if field.get is None else list(field.get(chunk))


def table(fields: Sequence[Field[C]], found: Sequence[C], width: int | None) -> Iterator[str]:
    """Lines of a table, the heading first, without the columns for which a screen `width` wide has no room: the last
    line names these.
    """
    shown = columns(fields)
    cells = [[_cells(field, chunk) for field in shown] for chunk in found]
    return laid_out(shown, cells, widest_of(len(shown), cells), width)


def widest_of(count: int, cells: Iterable[CellColumns]) -> list[int]:
    """The width of the widest cell of each of `count` columns, in cells of a terminal."""
    return [max((cell_width(text) for chunk in cells for text in chunk[i]), default=0) for i in range(count)]


def laid_out(
    fields: Sequence[Field[C]], cells: Iterable[CellColumns], widest: Sequence[int], width: int | None
) -> Iterator[str]:
    """The lines of `table`, of the cells of each chunk by column. widest: how wide the cells of each column may be."""
    titles = [tr(field.title) for field in fields]
    widths = [
        max(cell_width(title), field.least, most) for title, field, most in zip(titles, fields, widest, strict=True)
    ]
    kept = fitting(fields, widths, width)
    yield _line(fields, widths, kept, titles)
    for chunk in cells:
        for row in zip(*chunk, strict=True):
            yield _line(fields, widths, kept, row)
    if words := left_out([field for i, field in enumerate(fields) if i not in kept], width):
        yield words


def _cells(field: Field[C], chunk: C) -> list[str]:
    show = field.show or field.get
    return [] if show is None else [printable(str(value)) for value in show(chunk)]


def _line(fields: Sequence[Field[C]], widths: Sequence[int], kept: Sequence[int], cells: Sequence[str]) -> str:
    """The cells of the columns that are kept, each as wide as its column, in cells of a terminal."""
    texts = (_padded(cells[i], widths[i], left=fields[i].kind is Kind.LABEL) for i in kept)
    return (" " * GAP).join(texts).rstrip()


def _padded(text: str, width: int, *, left: bool) -> str:
    """The text in a column; characters of East Asia take two cells."""
    if text.isascii():
        return text.ljust(width) if left else text.rjust(width)
    space = " " * (width - cell_width(text))
    return text + space if left else space + text


def csv_lines(fields: Sequence[Field[C]], found: Iterable[C], *, clean: bool = False) -> Iterator[str]:
    """CSV with a heading, RFC 4180 but for plain newlines. clean: no text in it is obeyed by a terminal."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    valued = _valued(fields)
    writer.writerow([field.name for field in valued])
    for chunk in found:
        writer.writerows(zip(*(_words(field, _values(field, chunk), clean) for field in valued), strict=True))
        yield buffer.getvalue().rstrip("\n")
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().rstrip("\n")


def _words(field: Field[C], values: list[Any], clean: bool) -> list[Any]:
    """A column as CSV has it: `true` and `false` as in JSON."""
    if field.type == "boolean":
        return ["true" if value else "false" for value in values]
    return values if clean else [printable(value) if isinstance(value, str) else value for value in values]


def ndjson_lines(fields: Sequence[Field[C]], found: Iterable[C]) -> Iterator[str]:
    """One JSON object a line, with nothing in it that a terminal obeys."""
    valued = _valued(fields)
    template = "{" + ",".join(f'"{field.name}":%s' for field in valued) + "}"
    for chunk in found:
        for row in zip(*(_encoded(field, _values(field, chunk)) for field in valued), strict=True):
            yield template % row


def _encoded(field: Field[C], values: list[Any]) -> list[str]:
    """A column as JSON; an encoder is not made anew for each value."""
    if field.type == "boolean":
        return ["true" if value else "false" for value in values]
    if field.type == "string":
        return list(map(encode_basestring_ascii, values))
    return list(map(repr if field.type == "number" else json.dumps, values))
