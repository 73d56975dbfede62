"""Tables of the screen, made from the field registry: columns that fit, queues as bars, one row selected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from rich.cells import cell_len

from halfopen.core.fields.field import Field, Kind, columns
from halfopen.present.columns import GAP, fitting
from halfopen.present.language import tr
from halfopen.present.screen.choosing_rows import window
from halfopen.present.screen.styled import StyledLine, cut, gauge, styled
from halfopen.present.told_cells import told_cell

S = TypeVar("S")

# The share of a value that is drawn as a bar (None: no bar), and the style of that.
Bar = Callable[[S], tuple[float | None, str]]
_NO_BARS: Final[Mapping[str, Bar[object]]] = {}
# A bar is wider than its figures where there is room, up to this.
_BAR_MOST: Final = 28
_BAR_LEAST: Final = 12
# Words in the last column may be cut to this, and those in the first one where the rest would not fit otherwise.
_LAST_LEAST: Final = 14
_FIRST_LEAST: Final = 16
# Of an address before its port: the bracket, and the last group of an IPv6 address.
_ADDRESS_END: Final = 6


def table(
    fields: Sequence[Field[S]],
    subjects: Sequence[S],
    width: int,
    room: int,
    *,
    at: int | None = None,
    bars: Mapping[str, Bar[S]] = _NO_BARS,
    by: str = "",
    yields: int = 0,
) -> list[StyledLine]:
    """At most `room` lines: the titles, and the rows around the selected one (`at`; None: the first). by: the name of
    the column whose order the rows have. yields: names in the first column are shortened to make room for columns with
    at most that `spare`.
    """
    if not subjects or room < 2:
        return []
    shown = columns(fields)
    seen = [subjects[i] for i in window(len(subjects), at or 0, room - 1)]
    first = next(iter(window(len(subjects), at or 0, room - 1)))
    texts = [[told_cell(field, subject) for subject in seen] for field in shown]
    widths = [_width(field, column, field.name in bars) for field, column in zip(shown, texts, strict=True)]
    # Words in the last column take what is left.
    least = [*widths[:-1], min(widths[-1], _LAST_LEAST) if shown[-1].kind is Kind.LABEL else widths[-1]]
    widths[0] = least[0] = _first(shown, least, width - GAP, yields)
    kept = fitting(shown, least, width - GAP)
    widths = _filled(shown, widths, kept, width - GAP, bars)
    texts[0] = [_shorter(text, widths[0]) for text in texts[0]]
    titles = [(_aligned(shown[i], tr(shown[i].title), widths[i]), shown[i].name) for i in kept]
    made = [_titles(titles, by)]
    for row, subject in enumerate(seen):
        cells = [
            gauge(texts[i][row], *_bar(bars[shown[i].name], subject, widths[i]))
            if shown[i].name in bars
            else styled(_aligned(shown[i], texts[i][row], widths[i]))
            for i in kept
        ]
        line = _joined(cells)
        is_chosen = at is not None and first + row == at
        made.append(_chosen(line, width) if is_chosen else ((" " * GAP, ""), *line))
    return [cut(line, width) for line in made]


def _bar(made: Bar[S], subject: S, width: int) -> tuple[float | None, int, str]:
    share, style = made(subject)
    return share, width, style


def _width(field: Field[S], column: Sequence[str], has_bar: bool) -> int:
    wide = max(map(cell_len, (tr(field.title), *column)))
    return max(wide, _BAR_LEAST) if has_bar else wide


def _first(shown: Sequence[Field[S]], least: Sequence[int], room: int, yields: int) -> int:
    """The width of the first column: less than its longest name where a number beside it would be cut off or left out
    otherwise. Columns that are out of reach even so take nothing from it.
    """
    first = least[0]
    for rank in range(yields + 1):
        over = sum(wide + GAP for field, wide in zip(shown, least, strict=True) if field.spare <= rank) - GAP - room
        if rank and least[0] - over < _FIRST_LEAST:
            break
        if over > 0:
            first = min(first, max(_FIRST_LEAST, least[0] - over))
    return first


def _shorter(name: str, width: int) -> str:
    """A name without its middle: the end of an address, which tells it from its neighbours, and the port stay."""
    if len(name) <= width or not name.isascii():
        return name
    port = len(name) - name.rfind(":")
    end = min(width - 1, max(width // 2, port + _ADDRESS_END)) if port < len(name) else width // 2
    begin = "".join(piece for piece, _ in cut(styled(name), width - end))
    return begin + name[-end:]


def _filled(
    shown: Sequence[Field[S]], widths: list[int], kept: Sequence[int], room: int, bars: Mapping[str, Bar[S]]
) -> list[int]:
    """The widths with what is left given to the bars, and the last column cut to its room."""
    widths = list(widths)
    last = kept[-1]
    left = room - sum(widths[i] + GAP for i in kept) + GAP
    if left < 0:
        if shown[last].kind is Kind.LABEL:
            widths[last] = max(_LAST_LEAST, widths[last] + left)
        return widths
    with_bars = [i for i in kept if shown[i].name in bars]
    for i in with_bars:
        widths[i] += max(0, min(left // len(with_bars), _BAR_MOST - widths[i]))
    return widths


def _aligned(field: Field[S], text: str, width: int) -> str:
    missing = max(0, width - cell_len(text))
    if field.kind is Kind.LABEL:
        return "".join(piece for piece, _ in cut(styled(text), width)) + " " * missing
    return " " * missing + text


def _titles(titles: Sequence[tuple[str, str]], by: str) -> StyledLine:
    cells: list[StyledLine] = []
    for text, name in titles:
        word = text.strip()
        left, _, right = text.partition(word)
        cells.append(((left, "dim"), (word, "bold underline" if name == by else "dim"), (right, "dim")))
    return ((" " * GAP, ""), *_joined(cells))


def _joined(cells: Sequence[StyledLine]) -> StyledLine:
    made: list[tuple[str, str]] = []
    for i, one in enumerate(cells):
        if i:
            made.append((" " * GAP, ""))
        made += one
    return tuple(made)


def _chosen(line: StyledLine, width: int) -> StyledLine:
    """A selected row: a mark that is seen without colours too; its bars stay bars."""
    marked = tuple((text, style if "reverse" in style else f"bold {style}".strip()) for text, style in line)
    return (("> ", "bold cyan"), *cut(marked, width - GAP))
