"""Cells of tables in the language that a screen or the page speaks."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from halfopen.core.closing_filter import CLIENTS_OF
from halfopen.core.fields.field import Field, cell
from halfopen.present.language import tr

S = TypeVar("S")

# As `core.fields.listener` writes them: so many connections at so many retransmissions; those that wait for data, or
# for room in the accept queue.
_AT: Final = re.compile(r"(?P<n>\d+) at (?P<k>\d+(?:-\d+)?)")
_ONE_IN: Final = re.compile(r"1 in (?P<n>[\d,]+)")
_BESIDE: Final = re.compile(r" \(\+(?P<n>[\d,]+) (?P<kind>answered|deferred)\)")


def told_cell(field: Field[S], subject: S) -> str:
    """The cell of a field's column for a subject; its own words in the language that is spoken."""
    text = cell(field, subject)
    if field.name == "retransmits":
        return _AT.sub(lambda match: tr("{n} at {k}", **match.groupdict()), text)
    if field.name == "half_open":
        return _BESIDE.sub(_beside, text)
    if field.name in ("share_at_most", "independent_share_at_most"):
        return told_share(text)
    if text.startswith(CLIENTS_OF):
        return tr("clients of {at}", at=text.removeprefix(CLIENTS_OF))
    return tr(text) if text in field.words else text


def told_share(text: str) -> str:
    """A share as `core.fields.advice.one_in` writes it."""
    if (match := _ONE_IN.fullmatch(text)) is not None:
        return tr("1 in {n}", n=match["n"])
    words = {"any": tr("any"), "as now": tr("as now"), "not seen": tr("not seen")}
    return words.get(text, text)


def _beside(match: re.Match[str]) -> str:
    n = match["n"]
    return tr(" (+{n} answered)", n=n) if match["kind"] == "answered" else tr(" (+{n} deferred)", n=n)
