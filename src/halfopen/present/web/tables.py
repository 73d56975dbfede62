"""Tables of the page, made from the field registry: titles and help in the language that is spoken, and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from halfopen.core.fields.field import Field, Kind, columns
from halfopen.core.units import printable
from halfopen.present.language import tr
from halfopen.present.told_cells import told_cell

S = TypeVar("S")


def table(fields: Sequence[Field[S]], subjects: Sequence[S]) -> dict[str, Any]:
    """The columns, each with its name, title, help and whether it holds numbers; and the rows of cells."""
    shown = columns(fields)
    return {
        "columns": [
            {"name": f.name, "title": tr(f.title), "help": said(f), "number": f.kind is not Kind.LABEL} for f in shown
        ],
        "rows": [[printable(told_cell(f, subject)) for f in shown] for subject in subjects],
    }


def said(field: Field[S]) -> str:
    """The meaning of a field, as a sentence; empty where its title says it."""
    text = _meaning(field)
    return tr(text) if text else ""


def _meaning(field: Field[S]) -> str:
    return field.plain_help if "as above" not in field.help else ""


def texts(fields: Sequence[Field[Any]]) -> list[str]:
    """The titles, meanings and words of a table's columns: what the catalogues have to have."""
    return [text for field in columns(fields) for text in (field.title, _meaning(field), *field.words) if text]
