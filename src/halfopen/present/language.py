"""The language of sentences: English, or what a catalogue (locale/…/halfopen.mo) has for each.

A sentence is translated where it is written for a person, and only there: JSON, metrics, the audit log and what one
program reads of another stay English. So the language is spoken (`spoken`) while a screen or a line is written.
"""

from __future__ import annotations

import gettext
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

DOMAIN: Final = "halfopen"
LOCALES: Final = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "locale")
ENGLISH: Final = "en"
# The catalogues, by what a configuration calls the language.
CATALOGUES: Final = {"zh": "zh_CN"}

_preferred = ENGLISH
_spoken: ContextVar[gettext.NullTranslations | None] = ContextVar("spoken", default=None)


def prefer(language: str) -> None:
    """Have this language spoken from now on: a key of CATALOGUES, or ENGLISH."""
    global _preferred
    _preferred = language


def preferred() -> str:
    """The language that is spoken to people."""
    return _preferred


def of_environment(environ: Mapping[str, str] = os.environ) -> str:
    """The language that LANGUAGE, LC_ALL, LC_MESSAGES and LANG ask for; ENGLISH where there is no catalogue of it.

    As gettext has it: LANGUAGE is a list in order of preference, which counts only where the locale is not C.
    """
    locale = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "C")
    bare = locale.partition(".")[0].partition("@")[0]
    if bare in ("C", "POSIX"):
        return ENGLISH
    for wanted in (*filter(None, environ.get("LANGUAGE", "").split(":")), bare):
        language = wanted.partition(".")[0].partition("_")[0]
        if language in CATALOGUES or language == ENGLISH:
            return language
    return ENGLISH


@lru_cache(maxsize=2)
def _catalogue(language: str) -> gettext.NullTranslations | None:
    """None: English, which the program itself has."""
    if language not in CATALOGUES:
        return None
    return gettext.translation(DOMAIN, LOCALES, [CATALOGUES[language]], fallback=True)


@contextmanager
def spoken(language: str | None = None) -> Iterator[None]:
    """Speak a language, or (None) the preferred one, until the end of the block; for one thread."""
    token = _spoken.set(_catalogue(_preferred if language is None else language))
    try:
        yield
    finally:
        _spoken.reset(token)


def aloud(shown: Callable[P, R]) -> Callable[P, R]:
    """Have a function speak the preferred language: of functions that write for a person, never of a generator."""

    @wraps(shown)
    def speaking(*arguments: P.args, **named: P.kwargs) -> R:
        with spoken():
            return shown(*arguments, **named)

    return speaking


def is_english() -> bool:
    """True where nothing is translated."""
    return _spoken.get() is None


def tr(text: str, /, **values: object) -> str:
    """A text in the language that is spoken, with these values in the places of their names."""
    catalogue = _spoken.get()
    return (text if catalogue is None else catalogue.gettext(text)).format(**values)


def tr_n(one: str, many: str, n: int, /, **values: object) -> str:
    """The same of a number, `{n:,}`: the form that the language has for that many."""
    catalogue = _spoken.get()
    text = (one if n == 1 else many) if catalogue is None else catalogue.ngettext(one, many, n)
    return text.format(n=n, **values)


def listed(parts: list[str] | tuple[str, ...]) -> str:
    """Parts of a sentence, the empty ones left out, with the language's semicolon between them."""
    return tr("; ").join(part for part in parts if part)


def cell_width(text: str) -> int:
    """How wide a text is on a terminal: characters of East Asia take two cells."""
    if text.isascii():
        return len(text)
    # Every command imports this module, and hardly one needs that table.
    from unicodedata import east_asian_width

    return sum(1 + (east_asian_width(c) in "WF") for c in text)


def ended_at(text: str, width: int) -> str:
    """The text at the right end of that many cells."""
    return " " * (width - cell_width(text)) + text


# A word with the spaces behind it; between two characters of East Asia a line may break as well.
_WIDE: Final = r"\u2e80-\u9fff\uff00-\uffef"
# A line does not begin with these: the East Asian comma, semicolon, colon, full stop, closing bracket.
_CLOSING: Final = r"[\u3001\u3002\uff01\uff09\uff0c\uff1a\uff1b\uff1f]"
# It does not end with these: opening brackets and quotation marks.
_OPENING: Final = r"\u201c\u300a\u300c\uff08"
# A number stays with its unit.
_MEASURED: Final = (
    rf"[{_OPENING}]*[^\s{_WIDE}{_OPENING}]*\d (?:(?:%|µs|ms|min|s|h|d)(?![^\s{_WIDE},.;:)])[,.;:)]*{_CLOSING}*\s*"
    rf"|[{_WIDE}]{_CLOSING}*)"
)
_PIECE: Final = (
    rf"{_MEASURED}|[{_OPENING}]*[^\s{_WIDE}{_OPENING}]+{_CLOSING}*\s*|[{_OPENING}]*[{_WIDE}]{_CLOSING}*"
    rf"|[{_OPENING}]+|\s+"
)


def wrapped(line: str, width: int, indent: str) -> list[str]:
    """The line, in several where it is wider than `width` cells: broken between words, all but the first indented."""
    if cell_width(line) <= width:
        return [line]
    lines, at = [""], 0
    for piece in re.findall(_PIECE, line):
        if at and lines[-1].strip() and at + cell_width(piece.rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(indent)
            at = cell_width(indent)
        lines[-1] += piece
        at += cell_width(piece)
    return [*lines[:-1], lines[-1].rstrip()]
