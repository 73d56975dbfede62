"""Request sockets as rows: sorted, limited, and written as a table, CSV, JSON or NDJSON, a chunk at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.fields import LIST, Field, Kind
from halfopen.core.model import Model
from halfopen.core.units import V4_MAPPED, address_text, json_text, printable

SORTS: Final = ("age", "expires", "retransmits", "source", "listener")
FORMATS: Final = ("table", "json", "ndjson", "csv")
_CHUNK: Final = 8192
_GAP: Final = "  "
_NOT_IN_TABLE: Final = ("family", "may_have_answered")
_GIVE_UP_FIRST: Final = ("expires_s", "deferred", "retransmits", "local_address", "netns")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one namespace that are to be shown: places in the Sample's requests, in order."""

    model: Model
    at: NDArray[np.intp]


def order(model: Model, at: NDArray[np.intp], by: str) -> NDArray[np.intp]:
    """The places `at`, sorted: age and retransmits from the highest, expires, source and listener from the lowest."""
    rows = model.sample.requests
    if by == "age":
        return at[np.argsort(-model.ages_s[at], kind="stable")]
    if by == "retransmits":
        return at[np.argsort(-rows["retransmits"][at].astype(np.int16), kind="stable")]
    if by == "expires":
        return at[np.argsort(rows["expires_ms"][at], kind="stable")]
    side = "remote" if by == "source" else "local"
    chosen = rows[at]
    return at[np.lexsort((chosen[f"{side}_port"], chosen[f"{side}_low"], chosen[f"{side}_high"], chosen["family"]))]


def rows(parts: Iterable[Part]) -> Iterator[Row]:
    """Each request as a tuple in the order of `fields.LIST`."""
    for part in parts:
        sample = part.model.sample
        for start in range(0, len(part.at), _CHUNK):
            at = part.at[start : start + _CHUNK]
            chunk = sample.requests[at]
            families = chunk["family"].tolist()
            local = _addresses(families, chunk["local_address"])
            remote = _addresses(families, chunk["remote_address"])
            yield from zip(
                [sample.netns] * len(at),
                ["ipv6" if ":" in a else "ipv4" for a in remote],
                local,
                chunk["local_port"].tolist(),
                remote,
                chunk["remote_port"].tolist(),
                np.round(part.model.ages_s[at].astype(float), 3).tolist(),
                chunk["retransmits"].tolist(),
                (chunk["expires_ms"] / 1000).tolist(),
                part.model.is_deferred[at].tolist(),
                part.model.doubtful(at).tolist(),
                strict=True,
            )


def _addresses(families: list[int], raw: NDArray[Any]) -> list[str]:
    # Eight in a thousand microseconds matter at a million rows: IPv4 is written without a detour.
    octets = np.ascontiguousarray(raw).view(np.uint8).reshape(-1, 16).tolist()
    mapped = list(V4_MAPPED)
    return [
        "%d.%d.%d.%d" % tuple(o[:4])  # noqa: UP031
        if family != 10
        else ("%d.%d.%d.%d" % tuple(o[12:]) if o[:12] == mapped else address_text(10, bytes(o)))  # noqa: UP031
        for family, o in zip(families, octets, strict=True)
    ]


def table(parts: list[Part], netns_column: bool, width: int | None = None) -> Iterator[str]:
    """Lines of a table, the heading first; without the family, which the addresses show, and without what else is
    least missed where a screen is less wide. A `?` for deferred: it cannot be told.
    """
    # Addresses are as wide as the widest among few rows; among many, as wide as an address can be.
    few = sum(len(p.at) for p in parts) <= _CHUNK
    shown: Iterable[Row] = rows(parts)
    if few:
        shown = list(shown)
        widest = [max((len(row[i]) for row in shown), default=0) for i in (2, 4)]
    else:
        v6 = any((p.model.sample.requests["family"][p.at] == 10).any() for p in parts)
        widest = [39 if v6 else 15] * 2
    local, remote = (max(width, least) for width, least in zip(widest, (5, 6), strict=True))
    names = {"local_address": local, "remote_address": remote}
    names["netns"] = max([5, *(len(p.model.sample.netns) for p in parts)])
    at = [i for i, f in enumerate(LIST) if f.name not in _NOT_IN_TABLE and (netns_column or f.name != "netns")]
    wide = {f.name: names.get(f.name, f.width) for f in LIST}
    for name in _GIVE_UP_FIRST:
        if width is None or sum(wide[LIST[i].name] + len(_GAP) for i in at) - len(_GAP) <= width:
            break
        at = [i for i in at if LIST[i].name != name]
    fields = tuple(LIST[i] for i in at)
    widths = [wide[f.name] for f in fields]
    yield _line(fields, widths, [f.title for f in fields])
    for row in shown:
        cells = [*row[:6], f"{row[6]:.1f} s", row[7], f"{row[8]:.1f} s", "yes" if row[9] else "?" if row[10] else "-"]
        yield _line(fields, widths, [printable(str(cells[i])) for i in at])


def _line(fields: tuple[Field, ...], widths: list[int], cells: list[str]) -> str:
    parts = [
        cell.rjust(width) if field.kind is not Kind.LABEL or field.name.endswith("_port") else cell.ljust(width)
        for field, width, cell in zip(fields, widths, cells, strict=True)
    ]
    return _GAP.join(parts).rstrip()


def csv_lines(parts: list[Part]) -> Iterator[str]:
    """CSV with a heading, RFC 4180 but for plain newlines."""
    names = [f.name for f in LIST]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for i, row in enumerate(rows(parts)):
        writer.writerow((printable(row[0]), *row[1:9], *("true" if yes else "false" for yes in row[9:])))
        if i % _CHUNK == _CHUNK - 1:
            yield buffer.getvalue().rstrip("\n")
            buffer.seek(0)
            buffer.truncate()
    if buffer.tell():
        yield buffer.getvalue().rstrip("\n")


def ndjson_lines(parts: list[Part]) -> Iterator[str]:
    """One JSON object a line."""
    names = [f.name for f in LIST]
    encode = json.JSONEncoder(separators=(",", ":")).encode  # nothing a terminal obeys
    for row in rows(parts):
        yield encode(dict(zip(names, row, strict=True)))


def json_lines(head: dict[str, Any], parts: list[Part]) -> Iterator[str]:
    """One JSON document: `head`, then `connections`, a row a line, never held whole in memory."""
    yield json_text(json.dumps(head, ensure_ascii=False))[:-1] + ', "connections": ['
    last = None
    for line in ndjson_lines(parts):
        if last is not None:
            yield last + ","
        last = line
    yield (last or "") + "]}"
