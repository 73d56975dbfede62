"""What the rooms below say in English, in the language of the reader.

They write sentences as f-strings; `scripts/locale_sources.py` enters each as a template into a list beside the
catalogues. A text is recognised by its template here, and so the values in it are known: the same text may also come
from another process, the journal or a file of history. A text that no template fits stays as it is.
"""

from __future__ import annotations

import os
import re
from functools import cache
from string import Formatter
from typing import Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError, words
from halfopen.core.units import printable
from halfopen.present.findings.words import in_units
from halfopen.present.language import LOCALES, is_english, tr

# Patterns for the values of these names; the values of other names may be any text.
_HOLES: Final = {
    "n": r"([\d,.]+)",
    "duration": r"([\d.]+ (?:ms|s|min|h|d)(?: \d+ (?:s|min))?)",
    **dict.fromkeys(("path", "key", "pid", "id"), r"(\S+?)"),
}
_IN_BRACKETS: Final = re.compile(r" \((.*)\)", re.DOTALL)
TEMPLATES: Final = os.path.join(LOCALES, "templates.txt")


class Template(Struct, frozen=True):
    """A sentence with names in braces, and the words between these."""

    text: str
    between: tuple[str, ...]
    names: tuple[str, ...]
    longest: str

    def values(self, said: str) -> dict[str, str] | None:
        """What stands in a text in the place of each name; None where the text is another sentence."""
        if self.longest not in said:
            return None
        match = _pattern(self.text).fullmatch(said)
        return None if match is None else dict(zip(self.names, match.groups(), strict=True))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    template = _read(text)
    pieces = [re.escape(template.between[0])]
    for i, name in enumerate(template.names):
        # If two values are adjacent, the first is a single word.
        beside = not template.between[i + 1] and i + 1 < len(template.names)
        pieces += [r"(\S*)" if beside else _HOLES.get(name, "(.*?)"), re.escape(template.between[i + 1])]
    return re.compile("".join(pieces), re.DOTALL)


def _read(text: str) -> Template:
    between, names = [""], []
    for literal, name, _, _ in Formatter().parse(text):
        between[-1] += literal
        if name is not None:
            names.append(name)
            between.append("")
    return Template(text, tuple(between), tuple(names), max(between, key=len))


@cache
def _templates() -> tuple[dict[str, str], tuple[Template, ...]]:
    """Sentences without values, and templates with them, those with the most fixed text first."""
    with open(TEMPLATES, encoding="utf-8") as file:
        read = [_read(line.rstrip("\n")) for line in file]
    plain = {one.between[0]: one.text for one in read if not one.names}
    open_ = sorted((one for one in read if one.names), key=lambda one: -sum(map(len, one.between)))
    return plain, tuple(open_)


def told(text: str) -> str:
    """A sentence of the rooms below, or several with semicolons between them, without what a terminal obeys."""
    text = printable(text)
    return text if is_english() else _told(text)


def told_error(error: BaseException) -> str:
    """What failed, on what, and what to do."""
    if not isinstance(error, HalfopenError):
        return told(words(error))
    return (
        tr("{message}; {hint}", message=told(error.message), hint=told(error.hint))
        if error.hint
        else told(error.message)
    )


def _told(text: str) -> str:
    plain, _ = _templates()
    if text in plain:
        return tr(plain[text])
    # A value hardly has a semicolon in it; where it seems so, the text is rather several sentences.
    return _by_template(text, several=False) or _in_parts(text) or _by_template(text, several=True) or in_units(text)


def _by_template(text: str, *, several: bool) -> str:
    """The text by the first template that fits; empty where none does. several: a value may be several sentences."""
    for template in _templates()[1]:
        values = template.values(text)
        if values is not None and (several or not any("; " in f"{value} " for value in values.values())):
            return tr(template.text, **{name: _value(value, word=name == "state") for name, value in values.items()})
    return ""


def _value(value: str, *, word: bool = False) -> str:
    if (bracketed := _IN_BRACKETS.fullmatch(value)) is not None:
        return tr(" ({reasons})", reasons=_value(bracketed[1]))
    # A single word is a name, or what somebody typed.
    return _told(value) if word or " " in value else value


def _in_parts(text: str) -> str:
    """Each sentence of several, or what follows a name and a colon; empty where neither is known."""
    for mark in ("; ", ": ", ", "):
        if mark in text:
            first, rest = text.split(mark, 1)
            parts = _told(first), _told(rest)
            if parts != (first, rest) and (mark != ", " or (parts[0] != first and parts[1] != rest)):
                # Where a file and a line are named, the colon is theirs.
                return (tr(mark) if mark != ": " or parts[0] != first else mark).join(parts)
    return ""
