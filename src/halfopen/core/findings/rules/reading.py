"""What the reading itself could not tell."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.policy.actions import Look


@rule(
    "may-have-answered",
    Level.WARNING,
    title="they may have answered",
    note=True,
    doc="without eBPF it cannot be told whether clients answered while an accept queue was full; no cause is named "
    "and no release offered for these",
)
def may_have_answered(e: Evidence) -> Iterator[Hit]:
    if e.now.may_have_answered:
        facts = Fact("may_have_answered", e.now.may_have_answered), Fact("doubt", e.now.doubt)
        yield Hit(Level.WARNING, facts, cures=((Look("self", "doctor", "may-have-answered"),),))


@rule(
    "incomplete-reading", Level.WARNING, title="the reading is not whole", note=True, doc="something could not be read"
)
def incomplete_reading(e: Evidence) -> Iterator[Hit]:
    for problem in e.now.sample.completeness.problems:
        yield Hit(Level.WARNING, (Fact("problem", problem),))


@rule(
    "not-shown",
    Level.OK,
    title="something is hidden",
    note=True,
    doc="who listens, or a release time of its own, is hidden for lack of a privilege, or was not looked for to the "
    "end for lack of time",
)
def not_shown(e: Evidence) -> Iterator[Hit]:
    for note in e.now.sample.completeness.notes:
        yield Hit(Level.OK, (Fact("note", note),))
