"""Limits of the reading itself."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.policy.actions import Look


@rule(
    "may-have-answered",
    Level.NOTICE,
    Level.WARNING,
    title="they may have answered",
    note=True,
    doc="without eBPF, halfopen cannot tell whether clients answered while an accept queue was full; "
    "it names no cause and proposes no release for these connections; a warning while an accept "
    "queue is full",
)
def may_have_answered(e: Evidence) -> Iterator[Hit]:
    if e.now.may_have_answered:
        facts = Fact("may_have_answered", e.now.may_have_answered), Fact("doubt", e.now.doubt)
        unknown = any(view.accept_queue_limit is None for view in e.now.listeners)
        full = any(queue.full for view in e.now.listeners if view.accept_queue for queue in e.accept_queues(view))
        cures = ((Look("self", "doctor", "may-have-answered"),),)
        yield Hit(Level.WARNING if full or unknown else Level.NOTICE, facts, cures=cures)


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
    doc="for lack of a privilege or of time, halfopen could not see which programs listen, or "
    "whether a listener has a release time of its own",
)
def not_shown(e: Evidence) -> Iterator[Hit]:
    for note in e.now.sample.completeness.notes:
        yield Hit(Level.OK, (Fact("note", note),))
