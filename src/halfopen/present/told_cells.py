"""Cells of tables in the language that a screen or the page speaks."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from halfopen.core.fields.field import Field, cell
from halfopen.present.language import tr

S = TypeVar("S")

# As `core.fields.listener` writes them: so many connections at so many retransmissions; those that wait for data, or
# for room in the accept queue.
_AT: Final = re.compile(r"(?P<n>\d+) at (?P<k>\d+(?:-\d+)?)")
_BESIDE: Final = re.compile(r" \(\+(?P<n>[\d,]+) (?P<kind>answered|deferred)\)")


def told_cell(field: Field[S], subject: S) -> str:
    """The cell of a field's column for a subject; its own words in the language that is spoken."""
    text = cell(field, subject)
    if field.name == "retransmits":
        return _AT.sub(lambda match: tr("{n} at {k}", **match.groupdict()), text)
    if field.name == "half_open":
        return _BESIDE.sub(_beside, text)
    return tr(text) if text in field.words else text


def _beside(match: re.Match[str]) -> str:
    n = match["n"]
    return tr(" (+{n} answered)", n=n) if match["kind"] == "answered" else tr(" (+{n} deferred)", n=n)
