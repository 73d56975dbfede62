"""Request sockets as rows: written as a table, CSV, JSON or NDJSON, a chunk at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.fields.connection import LIST, Chunk
from halfopen.core.fields.field import Field, columns
from halfopen.core.model.listing import Collected
from halfopen.core.units import json_text, printable
from halfopen.present import listing
from halfopen.present.language import cell_width, listed, tr, tr_n
from halfopen.present.told import told

# Rows that are Python objects at a time, at half a kilobyte each.
_CHUNK: Final = 2048
# A table with at most this many rows has columns as wide as their content.
_FEW: Final = 8192
Row = tuple[Any, ...]


class Part(Struct, frozen=True):
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
    cells: Iterable[listing.CellColumns] = (_cells(fields, chunk) for chunk in chunks(parts))
    if sum(part.count for part in parts) <= _FEW:
        cells = list(cells)
        widest = listing.widest_of(len(fields), cells)
    else:
        widest = [_most(field, parts) for field in fields]
    return listing.laid_out(fields, cells, widest, width)


def foot(parts: Sequence[Part], bounds: Set[str], doubts: Sequence[str]) -> Iterator[str]:
    """The lines below the table: how many there are, and what of it is uncertain. bounds: "lower" or "upper", where
    ages are no more than that; doubts: why some may have answered.
    """
    total, deferred, doubtful = (
        sum(getattr(part.collected, name) for part in parts) for name in ("total", "deferred", "doubtful")
    )
    words = tr_n("{n:,} half-open connection", "{n:,} half-open connections", total - deferred)
    words = tr("{words} and {n:,} deferred-accept", words=words, n=deferred) if deferred else words
    shown = sum(part.count for part in parts)
    yield tr("{words}, {n:,} shown (--limit 0 shows all)", words=words, n=shown) if shown < total else words
    if bounds == {"lower"}:
        yield tr("without eBPF, AGE is a lower bound for clients that retransmitted their SYN")
    elif bounds == {"upper"}:
        yield tr("without eBPF, AGE is an upper bound for clients that retransmitted their SYN")
    elif bounds:
        yield tr("without eBPF, AGE is a lower bound or an upper bound for clients that retransmitted their SYN")
    if doubtful:
        whys = listed([told(why) for why in doubts])
        yield tr("{n:,} of them may have answered (?): {whys}, and only eBPF can tell", n=doubtful, whys=whys)


def _most(field: Field[Chunk], parts: Iterable[Part]) -> int:
    """How wide a cell of the column may be, without a look at all of them."""
    if field.name == "netns":
        return max(cell_width(part.netns) for part in parts)
    return field.most_ipv6 if any(part.collected.any_ipv6 for part in parts) else field.most


def _cells(fields: Sequence[Field[Chunk]], chunk: Chunk) -> listing.CellColumns:
    """The cells of each column."""
    found = []
    for field in fields:
        show = field.show or field.get
        found.append([str(value) for value in show(chunk)] if show is not None else [])
    return found


def csv_lines(parts: list[Part]) -> Iterator[str]:
    """CSV with a heading, RFC 4180 but for plain newlines."""
    # Beside the name of the namespace a row holds nothing that others wrote; to look at each text takes long.
    return listing.csv_lines(LIST, chunks(_readable(parts)), clean=True)


def ndjson_lines(parts: list[Part]) -> Iterator[str]:
    """One JSON object a line, with nothing in it that a terminal obeys."""
    return listing.ndjson_lines(LIST, chunks(parts))


def json_lines(head: dict[str, Any], parts: list[Part]) -> Iterator[str]:
    """One JSON document: `head`, then `connections`, a row a line, never held whole in memory."""
    yield json_text(json.dumps(head, ensure_ascii=False))[:-1] + ', "connections": ['
    last = None
    for line in ndjson_lines(parts):
        if last is not None:
            yield last + ","
        last = line
    yield (last or "") + "]}"
