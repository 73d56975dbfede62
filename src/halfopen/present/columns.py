"""Tables made from the field registry: the columns that fit the screen, and the names of those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from rich.cells import cell_len

from halfopen.core.fields.field import Field, Kind, columns
from halfopen.present.language import tr
from halfopen.present.told_cells import told_cell

if TYPE_CHECKING:
    from rich.console import Console

S = TypeVar("S")

GAP: Final = 2
# A cell whose value could not be read; a column of nothing else is left out.
_UNKNOWN: Final = "?"


def fitting(fields: Sequence[Field[S]], widths: Sequence[int], room: int | None) -> list[int]:
    """The places of the columns, as wide as given, that fit into `room` characters (None: all of them do).

    Those with spare 0 always stay. Of the others the ones with the lowest number are taken first, columns with the same
    number together, and one that does not fit does not keep a narrower one behind it out.
    """
    everything = range(len(fields))
    if room is None:
        return list(everything)
    kept = {i for i in everything if not fields[i].spare}
    for rank in sorted({field.spare for field in fields if field.spare}):
        more = kept | {i for i in everything if fields[i].spare == rank}
        if sum(widths[i] + GAP for i in more) - GAP <= room:
            kept = more
    return sorted(kept)


def show(out: Console, fields: Iterable[Field[S]], subjects: Sequence[S]) -> frozenset[str]:
    """Print a table with a line for each subject, and below it which columns the screen has no room for. Titles and
    words are in the language that is spoken.

    Returns: the names of the fields that are shown.
    """
    # The live screen uses the rest of this file, and must not become larger by what draws tables.
    from rich.table import Table
    from rich.text import Text

    shown = columns(fields)
    cells = [[told_cell(field, subject) for subject in subjects] for field in shown]
    known = [i for i, column in enumerate(cells) if any(text != _UNKNOWN for text in column)]
    shown, cells = tuple(shown[i] for i in known), [cells[i] for i in known]
    widths = [max(map(cell_len, (tr(field.title), *column))) for field, column in zip(shown, cells, strict=True)]
    kept = fitting(shown, widths, out.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
    for i in kept:
        side = "left" if shown[i].kind is Kind.LABEL else "right"
        table.add_column(tr(shown[i].title), justify=side, no_wrap=True, header_style="dim")  # type: ignore[arg-type]
    for line in zip(*(cells[i] for i in kept), strict=True):
        table.add_row(*map(Text, line))
    out.print(table)
    if words := left_out([field for i, field in enumerate(shown) if i not in kept], out.width):
        out.print(Text(words, style="dim"))
    return frozenset(shown[i].name for i in kept)


def left_out(fields: Sequence[Field[S]], width: int | None) -> str:
    """The line that names the columns a screen has no room for; empty when it has room for all."""
    if not fields:
        return ""
    return tr("not shown at {n} columns: {titles}", n=width, titles=tr(", ").join(tr(field.title) for field in fields))
