"""Prometheus's text format, version 0.0.4, for metrics of which few change between two scrapes.

The format is a few rules of escapes (https://prometheus.io/docs/instrumenting/exposition_formats/). Its client library
would bring an HTTP server and TLS into the process that has the capabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct, field

from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.metrics import BY
from halfopen.core.model.handshake_times import LE_S, HandshakeTimes

S = TypeVar("S")

_PREFIX: Final = "halfopen_"
# A value that no metric has.
_UNSET: Final = object()

_TYPES: Final = {Kind.COUNTER: "counter", Kind.SUMMARY: "summary", Kind.HISTOGRAM: "histogram"}


class _Shown(Struct, Generic[S]):
    """A subject as it is shown: its labels as text and, for each metric, the value and the lines."""

    labels: bytes
    subject: S | None = None
    values: list[Any] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


class MetricTable(Generic[S]):
    """The metrics of subjects of one sort as text. Only lines whose value changed are rebuilt: for a thousand idle
    listeners, eight thousand lines stay as they are.
    """

    def __init__(self, fields: Sequence[Field[S]], labels: tuple[str, ...] = (), *, frozen: bool = False) -> None:
        """labels: the names of those that every sample has. frozen: a subject never changes, it is replaced."""
        self._fields, self._labels, self._frozen = fields, labels, frozen
        self._names = [_name(one).encode() for one in fields]
        self._heads = [_head(one) for one in fields]
        self._rows: dict[Hashable, _Shown[S]] = {}

    def text(self, subjects: dict[Any, S], labels_of: Callable[[Any, S], Sequence[str]]) -> bytes:
        """All metrics of the subjects, by key; labels_of: the values of their labels, which stay those of the key."""
        fresh = [key for key in subjects if key not in self._rows]
        made = label_texts(self._labels, [labels_of(key, subjects[key]) for key in fresh])
        size = len(self._fields)
        new = {key: _Shown[S](text, None, [_UNSET] * size, [b""] * size) for key, text in zip(fresh, made, strict=True)}
        self._rows = {key: self._rows.get(key) or new[key] for key in subjects}
        for row, subject in zip(self._rows.values(), subjects.values(), strict=True):
            self._update(row, subject)
        pieces = []
        for i, head in enumerate(self._heads):
            pieces.append(head)
            pieces += [row.lines[i] for row in self._rows.values()]
        return b"".join(pieces)

    def _update(self, row: _Shown[S], subject: S) -> None:
        if self._frozen and subject is row.subject:
            return
        row.subject = subject
        for i, one in enumerate(self._fields):
            value = None if one.get is None else one.get(subject)
            if value != row.values[i]:
                row.values[i] = value
                row.lines[i] = b"" if value is None else b"".join(_lines(one, self._names[i], row.labels, value))


def _lines(field: Field[Any], name: bytes, labels: bytes, value: Any) -> Iterator[bytes]:
    if field.name in BY:
        texts = label_texts(BY[field.name], [more for more, _ in value])
        for text, (_, number) in zip(texts, value, strict=True):
            yield _line(name, labels + b"," * bool(labels) + text, number)
    elif field.kind is Kind.SUMMARY:
        count, total = value
        yield _line(name + b"_count", labels, count)
        yield _line(name + b"_sum", labels, total)
    elif field.kind is Kind.HISTOGRAM:
        yield from _histogram(name, labels, value)
    else:
        yield _line(name, labels, value)


def _histogram(name: bytes, labels: bytes, times: HandshakeTimes) -> Iterator[bytes]:
    for le, below in zip(_LE, (*times.below, times.count), strict=True):
        yield _line(name + b"_bucket", labels + b"," * bool(labels) + b'le="' + le + b'"', below)
    yield _line(name + b"_count", labels, times.count)
    yield _line(name + b"_sum", labels, times.sum_s)


def _line(name: bytes, labels: bytes, value: float) -> bytes:
    braces = b"{" + labels + b"}" if labels else b""
    return name + braces + b" " + _number(value) + b"\n"


def _number(value: float) -> bytes:
    number = float(value)
    if math.isfinite(number):
        return repr(number).encode()
    return b"NaN" if math.isnan(number) else b"+Inf" if number > 0 else b"-Inf"


_LE: Final = (*map(_number, LE_S), b"+Inf")


def _name(field: Field[Any]) -> str:
    return _PREFIX + field.name + "_total" * (field.kind is Kind.COUNTER)


def _head(field: Field[Any]) -> bytes:
    """The lines above those of a metric."""
    name, text = _name(field), field.plain_help.replace("\\", r"\\").replace("\n", r"\n")
    return _bytes(f"# HELP {name} {text}\n# TYPE {name} {_TYPES.get(field.kind, 'gauge')}\n")


def label_texts(names: tuple[str, ...], values: Iterable[Sequence[str]]) -> list[bytes]:
    """Labels as they stand between the braces, for each of the values: `a="1",b="2"`."""
    return [b",".join(_bytes(f'{n}="{_escaped(v)}"') for n, v in zip(names, row, strict=True)) for row in values]


def _escaped(text: str) -> str:
    """As the format wants it; what a terminal would obey, and bytes that are no text, as `\\x1b` and `\\udcff`.

    The format knows no escape but that of these three: a parser may refuse the whole text for another one.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _bytes(text: str) -> bytes:
    # A file name may hold bytes that are no text.
    return text.encode("utf-8", "backslashreplace")
