"""The blocks of a document: what is written, and nothing of how. All texts are plain."""

from __future__ import annotations

from dataclasses import dataclass

from halfopen.present.postmortem.plots import Plot


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is that of the document."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph. kind: "" for plain text, "lead", "note" (smaller) or "warning"."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class BulletList:
    """A list of sentences."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures that are seen first: the value and what it is."""

    tiles: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class FactList:
    """Names with their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TableRows:
    """A table. right: the columns of numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class CommandList:
    """CommandList with what each is for ("": it says so itself)."""

    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Plots:
    """Values over one stretch of time, one plot below the other. key: what the marks of a drawing mean."""

    plots: tuple[Plot, ...]
    key: str
    caption: str = ""


DocumentBlock = Heading | Paragraph | BulletList | Tiles | FactList | TableRows | CommandList | Plots


@dataclass(frozen=True, slots=True)
class Document:
    """language: as a tag of BCP 47. made: how it was made, in a line."""

    title: str
    language: str
    blocks: tuple[DocumentBlock, ...]
    made: str
