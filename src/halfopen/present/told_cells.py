"""Cells of tables, and what a watch says of itself, in the language that a screen or the page speaks."""

from __future__ import annotations

import re
from typing import Final, TypeVar

from halfopen.core.fields.field import Field, cell
from halfopen.present.findings.words import in_units
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


# Of `core.policy.spacing`.
_SPACED: Final = re.compile(
    r"watch: a reading takes (?P<used>\d+) ms of processor time: readings are (?P<time>.+) apart now, to use at most "
    r"(?P<share>[\d.]+%) of a processor; raise max_cpu, or watch fewer namespaces"
)
_AGAIN: Final = re.compile(r"watch: readings are (?P<time>.+) apart again")


def told_trouble(text: str) -> str:
    """The trouble of a watch (`core.live.Live.trouble`); what the kernel or a file says of one, as it is."""
    if (match := _AGAIN.fullmatch(text)) is not None:
        return tr("watch: readings are {time} apart again", time=in_units(match["time"]))
    if (match := _SPACED.fullmatch(text)) is None:
        return text
    return tr(
        "watch: a reading takes {used} ms of processor time: readings are {time} apart now, to use at most {share} of "
        "a processor; raise max_cpu, or watch fewer namespaces",
        used=match["used"],
        time=in_units(match["time"]),
        share=match["share"],
    )
