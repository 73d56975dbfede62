"""One entry of the field registry: everything there is to know of a value that is shown.

A registry is a tuple of Fields of one subject. Tables, CSV, JSON documents, metrics and the tables of names in the
manuals are made by going through it: a new value is a new entry, and nothing is matched by position.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

S = TypeVar("S")
T = TypeVar("T")

_LINK: Final = re.compile(r" ?\(?\[[^\]]*\]\([^)]*\)\)?")


class Kind(Enum):
    """The kind of value of a field. Numbers stand at the right of their column.

    SUMMARY: of a metric, how many there were and their sum. HISTOGRAM: the same, and how many were below each edge.
    """

    LABEL = "label"
    GAUGE = "gauge"
    COUNTER = "counter"
    SUMMARY = "summary"
    HISTOGRAM = "histogram"


class Field(Struct, Generic[S], frozen=True):
    """A value of a subject `S`.

    name: in JSON and CSV, or of the metric; stable. help: what it means, in Markdown and one line. get: the value, None
    where only a column shows it. type: of the value, in JSON's words. unit: SI, "" for none.

    title: of the column, "" for a value that is in no table. show: the cell; None: the value as text. least: how wide
    the column is at least. most, most_ipv6: how wide a cell may be, without and with IPv6 addresses, where there are
    too many cells to look at first; 0: no wider than `least` and the title. spare: where a screen is narrow the columns
    with the highest number are left out first, those with 0 never. words: cells that screens have in the language of
    the person who looks.
    """

    name: str
    help: str
    get: Callable[[S], Any] | None = None
    type: str = "number"
    unit: str = ""
    kind: Kind = Kind.GAUGE
    title: str = ""
    show: Callable[[S], Any] | None = None
    least: int = 0
    most: int = 0
    most_ipv6: int = 0
    spare: int = 0
    words: tuple[str, ...] = ()

    @property
    def plain_help(self) -> str:
        """`help` as a sentence without Markdown."""
        text = _LINK.sub("", self.help).replace("`", "")
        return text[:1].upper() + text[1:]

    def of(self, part: Callable[[T], S]) -> Field[T]:
        """The same value of a subject that has this field's subject as a part."""
        get, show = self.get, self.show
        alike: Any = self
        made: Field[T] = replace(
            alike,
            get=None if get is None else lambda whole: get(part(whole)),
            show=None if show is None else lambda whole: show(part(whole)),
        )
        return made


def json_object(fields: Iterable[Field[S]], subject: S) -> dict[str, Any]:
    """The JSON object of a subject: every field that has a value, by name, in the registry's order."""
    return {field.name: field.get(subject) for field in fields if field.get is not None}


def chosen(fields: Iterable[Field[S]], *names: str) -> tuple[Field[S], ...]:
    """The fields with these names, in this order. Raises: KeyError."""
    known = {field.name: field for field in fields}
    return tuple(known[name] for name in names)


def columns(fields: Iterable[Field[S]]) -> tuple[Field[S], ...]:
    """The fields that a table shows, in its order."""
    return tuple(field for field in fields if field.title)


def cell(field: Field[S], subject: S) -> str:
    """The cell of the field's column for a subject."""
    shown = field.show if field.show is not None else field.get
    return str(shown(subject)) if shown is not None else ""
