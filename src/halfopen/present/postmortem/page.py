"""A document as one page of HTML: no script, nothing from elsewhere, light and dark, fit for printing on A4."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from typing import Final, assert_never

from halfopen.core.units import printable
from halfopen.present.postmortem.blocks import (
    BulletList,
    CommandList,
    Document,
    DocumentBlock,
    FactList,
    Heading,
    Paragraph,
    Plots,
    TableRows,
    Tiles,
)
from halfopen.present.postmortem.drawing import svg

# Should anything have been overlooked, a browser loads and runs nothing.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
# A first column of longer words than these is broken over lines.
_SHORT: Final = 24


def page(made: Document) -> str:
    """The whole file."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(piece for block in made.blocks for piece in _block(block))
    return (
        f'<!DOCTYPE html>\n<html lang="{_text(made.language)}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(made.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"<footer>{_text(made.made)}</footer>\n</body>\n</html>\n"
    )


def _text(words: str) -> str:
    return escape(printable(words))


def _block(block: DocumentBlock) -> Iterator[str]:
    match block:
        case Heading():
            yield f"<h{block.level}>{_text(block.text)}</h{block.level}>"
        case Paragraph():
            kind = f' class="{block.kind}"' if block.kind else ""
            yield f"<p{kind}>{_text(block.text)}</p>"
        case BulletList():
            yield f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in block.lines)}</ul>"
        case Tiles():
            tiles = (f"<li><b>{_text(value)}</b> <span>{_text(name)}</span></li>" for value, name in block.tiles)
            yield f'<ul class="tiles">{"".join(tiles)}</ul>'
        case FactList():
            rows = (f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in block.rows)
            yield f"<dl>{''.join(rows)}</dl>"
        case TableRows():
            yield from _table(block)
        case CommandList():
            lines = (f"<li>{_purpose(purpose)}<code>{_text(command)}</code></li>" for command, purpose in block.lines)
            yield f'<ul class="commands">{"".join(lines)}</ul>'
        case Plots():
            drawn = (
                f'<p class="over">{_text(plot.title)}</p>{svg(plot, tall=not i)}' for i, plot in enumerate(block.plots)
            )
            words = " ".join(filter(None, (block.key, block.caption)))
            caption = f"<figcaption>{_text(words)}</figcaption>" if words else ""
            yield f"<figure>{''.join(drawn)}{caption}</figure>"
        case _:
            assert_never(block)


def _purpose(words: str) -> str:
    return f"<span>{_text(words)}</span>" if words else ""


def _table(block: TableRows) -> Iterator[str]:
    head = "".join(f"<th{_right(block, i)}>{_text(name)}</th>" for i, name in enumerate(block.head))
    yield f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>'
    for row in block.rows:
        cells = "".join(f"<td{_right(block, i, text)}>{_text(text)}</td>" for i, text in enumerate(row))
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"


def _right(block: TableRows, column: int, text: str = "") -> str:
    if column in block.right:
        return ' class="right"'
    return ' class="long"' if len(text) > _SHORT else ""
