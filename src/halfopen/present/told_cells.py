"""Cells of the tables that a screen or the page shows, in the language that is spoken."""

from __future__ import annotations

from typing import TypeVar

from halfopen.core.fields.field import Field, cell
from halfopen.present.language import tr

S = TypeVar("S")


def told_cell(field: Field[S], subject: S) -> str:
    """The cell of a field's column for a subject; its own words in the language that is spoken."""
    text = cell(field, subject)
    return tr(text) if text in field.words else text
