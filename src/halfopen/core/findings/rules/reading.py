"""What the reading itself could not tell."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.cures import Look
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule


@rule(
    "may-have-answered",
    Level.WARNING,
    doc="the same cannot be told, for lack of eBPF; neither the causes below nor a release are offered for these",
)
def may_have_answered(e: Evidence) -> Iterator[Hit]:
    if e.now.may_have_answered:
        facts = Fact("may_have_answered", e.now.may_have_answered), Fact("doubt", e.now.doubt)
        yield Hit(Level.WARNING, facts, cures=((Look(e.netns, "doctor", everywhere=True),),))


@rule("incomplete-reading", Level.WARNING, doc="something could not be read")
def incomplete_reading(e: Evidence) -> Iterator[Hit]:
    for problem in e.now.sample.completeness.problems:
        yield Hit(Level.WARNING, (Fact("problem", problem),))


@rule(
    "not-shown",
    Level.OK,
    doc="who listens, or a release time of its own, is hidden for lack of a privilege, or was not looked for to the "
    "end for lack of time",
)
def not_shown(e: Evidence) -> Iterator[Hit]:
    for note in e.now.sample.completeness.notes:
        yield Hit(Level.OK, (Fact("note", note),))
