"""The blocks of a document: what is written, and nothing of how. All texts are plain."""

from __future__ import annotations

from msgspec import Struct

from halfopen.present.postmortem.plots import Plot


class Heading(Struct, frozen=True):
    """A heading; level 1 is that of the document."""

    level: int
    text: str


class Paragraph(Struct, frozen=True):
    """A paragraph. kind: "" for plain text, "lead", "note" (smaller) or "warning"."""

    text: str
    kind: str = ""


class BulletList(Struct, frozen=True):
    """A list of sentences."""

    lines: tuple[str, ...]


class Tiles(Struct, frozen=True):
    """Figures that are seen first: the value and what it is."""

    tiles: tuple[tuple[str, str], ...]


class FactList(Struct, frozen=True):
    """Names with their values."""

    rows: tuple[tuple[str, str], ...]


class TableRows(Struct, frozen=True):
    """A table. right: the columns of numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()


class CommandList(Struct, frozen=True):
    """CommandList with what each is for ("": it says so itself)."""

    lines: tuple[tuple[str, str], ...]


class Plots(Struct, frozen=True):
    """Values over one stretch of time, one plot below the other. key: what the marks of a drawing mean."""

    plots: tuple[Plot, ...]
    key: str
    caption: str = ""


DocumentBlock = Heading | Paragraph | BulletList | Tiles | FactList | TableRows | CommandList | Plots


class Document(Struct, frozen=True):
    """language: as a tag of BCP 47. made: how it was made, in a line."""

    title: str
    language: str
    blocks: tuple[DocumentBlock, ...]
    made: str
