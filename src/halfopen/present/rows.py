"""Request sockets as rows: written as a table, CSV, JSON or NDJSON, a chunk at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from halfopen.core.fields.connection import LIST, Chunk
from halfopen.core.fields.field import Field, Kind, columns
from halfopen.core.model.listing import Collected
from halfopen.core.units import json_text, printable
from halfopen.present.columns import GAP, fitting, left_out
from halfopen.present.language import cell_width

# Rows that are Python objects at a time, at half a kilobyte each.
_CHUNK: Final = 2048
# A table with at most this many rows has columns as wide as their content.
_FEW: Final = 8192
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one namespace that are to be shown: the first `count` that were collected."""

    netns: str
    collected: Collected
    count: int


def parts(found: Iterable[tuple[str, Collected]], limit: int | None) -> list[Part]:
    """What is to be shown of several namespaces, by name: the first `limit` rows in all; None: every one."""
    made = []
    for netns, collected in found:
        count = len(collected) if limit is None else min(len(collected), limit)
        limit = None if limit is None else limit - count
        made.append(Part(netns, collected, count))
    return made


def chunks(parts: Iterable[Part]) -> Iterator[Chunk]:
    """The connections in their order, some at a time."""
    for part in parts:
        for records, wide in part.collected.in_order(part.count, _CHUNK):
            yield Chunk(part.netns, records, wide)


def rows(parts: Iterable[Part]) -> Iterator[Row]:
    """Each connection as a tuple of its values, in the order of `LIST`."""
    for chunk in chunks(parts):
        yield from zip(*_values(chunk), strict=True)


def _values(chunk: Chunk) -> list[list[Any]]:
    return [field.get(chunk) for field in LIST if field.get is not None]


def _readable(parts: Iterable[Part]) -> list[Part]:
    """With names of namespaces of which a terminal obeys nothing."""
    return [replace(part, netns=printable(part.netns)) for part in parts]


def table(parts: list[Part], netns_column: bool, width: int | None = None) -> Iterator[str]:
    """Lines of a table, the heading first, without the columns for which a screen `width` wide has no room: the last
    line names these.
    """
    parts = _readable(parts)
    fields = [field for field in columns(LIST) if netns_column or field.name != "netns"]
    cells: Iterable[list[list[str]]] = (_cells(fields, chunk) for chunk in chunks(parts))
    if sum(part.count for part in parts) <= _FEW:
        cells = list(cells)
        widest = [
            max((cell_width(text) for chunk in cells for text in chunk[i]), default=0) for i in range(len(fields))
        ]
    else:
        widest = [_most(field, parts) for field in fields]
    widths = [max(len(field.title), field.least, most) for field, most in zip(fields, widest, strict=True)]
    kept = fitting(fields, widths, width)
    yield _line(fields, widths, kept, [field.title for field in fields])
    for chunk in cells:
        for line in zip(*chunk, strict=True):
            yield _line(fields, widths, kept, line)
    if words := left_out([field for i, field in enumerate(fields) if i not in kept], width):
        yield words


def _most(field: Field[Chunk], parts: Iterable[Part]) -> int:
    """How wide a cell of the column may be, without a look at all of them."""
    if field.name == "netns":
        return max(cell_width(part.netns) for part in parts)
    return field.most_ipv6 if any(part.collected.any_ipv6 for part in parts) else field.most


def _cells(fields: Sequence[Field[Chunk]], chunk: Chunk) -> list[list[str]]:
    """The cells of each column."""
    found = []
    for field in fields:
        show = field.show or field.get
        found.append([str(value) for value in show(chunk)] if show is not None else [])
    return found


def _line(fields: Sequence[Field[Chunk]], widths: Sequence[int], kept: Sequence[int], cells: Sequence[str]) -> str:
    texts = (_padded(cells[i], widths[i], left=fields[i].kind is Kind.LABEL) for i in kept)
    return (" " * GAP).join(texts).rstrip()


def _padded(text: str, width: int, *, left: bool) -> str:
    """The text in a column; characters of East Asia take two cells."""
    if text.isascii():
        return text.ljust(width) if left else text.rjust(width)
    space = " " * (width - cell_width(text))
    return text + space if left else space + text


def csv_lines(parts: list[Part]) -> Iterator[str]:
    """CSV with a heading, RFC 4180 but for plain newlines."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in LIST])
    for chunk in chunks(_readable(parts)):
        writer.writerows(zip(*map(_words, LIST, _values(chunk)), strict=True))
        yield buffer.getvalue().rstrip("\n")
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().rstrip("\n")


def _words(field: Field[Chunk], values: list[Any]) -> list[Any]:
    """A column as CSV has it: `true` and `false` as in JSON."""
    return ["true" if value else "false" for value in values] if field.type == "boolean" else values


def ndjson_lines(parts: list[Part]) -> Iterator[str]:
    """One JSON object a line, with nothing in it that a terminal obeys."""
    template = "{" + ",".join(f'"{field.name}":%s' for field in LIST) + "}"
    for chunk in chunks(parts):
        for row in zip(*map(_encoded, LIST, _values(chunk)), strict=True):
            yield template % row


def _encoded(field: Field[Chunk], values: list[Any]) -> list[str]:
    """A column as JSON; an encoder is not made anew for each value."""
    if field.type == "boolean":
        return ["true" if value else "false" for value in values]
    if field.type == "string":
        return list(map(encode_basestring_ascii, values))
    return list(map(repr if field.type == "number" else json.dumps, values))


def json_lines(head: dict[str, Any], parts: list[Part]) -> Iterator[str]:
    """One JSON document: `head`, then `connections`, a row a line, never held whole in memory."""
    yield json_text(json.dumps(head, ensure_ascii=False))[:-1] + ', "connections": ['
    last = None
    for line in ndjson_lines(parts):
        if last is not None:
            yield last + ","
        last = line
    yield (last or "") + "]}"
