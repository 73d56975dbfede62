"""Request sockets as rows: written as a table, CSV, JSON or NDJSON, a chunk at a time."""

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
from halfopen.core.model.listing import IS_DEFERRED, IS_DOUBTFUL, IS_WIDE, Collected
from halfopen.core.units import address_text, json_text, printable

# Rows that are Python objects at a time, at half a kilobyte each.
_CHUNK: Final = 2048
# Up to so many a table's columns are as wide as what is in them.
_FEW: Final = 8192
_GAP: Final = "  "
_NOT_IN_TABLE: Final = ("family", "may_have_answered")
_GIVE_UP_FIRST: Final = ("expires_s", "deferred", "retransmits", "local_address", "netns")

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


def rows(parts: Iterable[Part]) -> Iterator[Row]:
    """Each request as a tuple in the order of `fields.LIST`."""
    for part in parts:
        for chunk, wide in part.collected.in_order(part.count, _CHUNK):
            at_wide = np.flatnonzero(chunk["form"] & IS_WIDE).tolist()
            local = _addresses(chunk["local"], at_wide, wide["local"])
            remote = _addresses(chunk["remote"], at_wide, wide["remote"])
            yield from zip(
                [part.netns] * len(chunk),
                ["ipv6" if ":" in a else "ipv4" for a in remote],
                local,
                chunk["local_port"].tolist(),
                remote,
                chunk["remote_port"].tolist(),
                np.round(chunk["age_s"].astype(float), 3).tolist(),
                chunk["retransmits"].tolist(),
                (chunk["expires_ms"] / 1000).tolist(),
                (chunk["form"] & IS_DEFERRED != 0).tolist(),
                (chunk["form"] & IS_DOUBTFUL != 0).tolist(),
                strict=True,
            )


def _addresses(numbers: NDArray[np.uint32], at_wide: list[int], wide: NDArray[Any]) -> list[str]:
    # Eight in a thousand microseconds matter at a million rows: IPv4 is written without a detour.
    octets = numbers.astype(">u4").view(np.uint8).reshape(-1, 4).T.tolist()
    texts = ["%d.%d.%d.%d" % four for four in zip(*octets, strict=True)]  # noqa: UP031
    for at, address in zip(at_wide, wide.tolist(), strict=True):
        texts[at] = address_text(10, address)
    return texts


def table(parts: list[Part], netns_column: bool, width: int | None = None) -> Iterator[str]:
    """Lines of a table, the heading first; without the family, which the addresses show, and without what else is
    least missed where a screen is less wide. A `?` for deferred: it cannot be told.
    """
    # Addresses are as wide as the widest among few rows; among many, as wide as an address can be.
    few = sum(p.count for p in parts) <= _FEW
    shown: Iterable[Row] = rows(parts)
    if few:
        shown = list(shown)
        widest = [max((len(row[i]) for row in shown), default=0) for i in (2, 4)]
    else:
        v6 = any(p.collected.any_ipv6 for p in parts)
        widest = [39 if v6 else 15] * 2
    local, remote = (max(width, least) for width, least in zip(widest, (5, 6), strict=True))
    names = {"local_address": local, "remote_address": remote}
    names["netns"] = max([5, *(len(p.netns) for p in parts)])
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
