"""The causes of an incident, with evidence, how sure each is, and what was ruled out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.diagnosis import Confidence, Explained
from halfopen.core.findings.exclusions import Against
from halfopen.core.findings.finding import Fact
from halfopen.core.policy.incidents import CauseFound
from halfopen.core.postmortem import ExplainedCause, IncidentStory
from halfopen.core.units import printable
from halfopen.present.diagnosis import confidence
from halfopen.present.findings.facts import phrases
from halfopen.present.findings.sentences import say
from halfopen.present.language import tr
from halfopen.present.postmortem.blocks import (
    DocumentBlock,
    FactList,
    Paragraph,
    TableRows,
)
from halfopen.present.postmortem.naming import named_cause
from halfopen.present.postmortem.times import clock

_CAUSES_MOST: Final = 6


def causes(told: IncidentStory) -> Iterator[DocumentBlock]:
    """Each cause that was reported, with its evidence, and which causes were ruled out."""
    if not told.causes:
        yield Paragraph(tr("None was reported: it was a rise that passed without an alarm."))
        return
    by_time = {cause.at_s: cause for cause in told.incident.causes}
    shown = told.causes[-_CAUSES_MOST:]
    if len(told.causes) > len(shown):
        yield Paragraph(tr("The last {n} of {all} causes reported:", n=len(shown), all=len(told.causes)), "note")
    for cause in shown:
        yield from _cause(told, cause, by_time.get(cause.at_s))
    yield from _ruled_out(told.causes[-1])


def _cause(told: IncidentStory, cause: ExplainedCause, kept: CauseFound | None) -> Iterator[DocumentBlock]:
    yield Paragraph(said_at(told, cause))
    facts = kept.facts if kept is not None else () if cause.finding is None else cause.finding.facts
    rows = [(tr("Cause"), cause.id or tr("unknown"))]
    explained = _explained(cause)
    if explained is not None:
        rows.append((tr("How sure"), confidence(explained)))
    if words := phrases(facts):
        rows.append((tr("Evidence"), printable(words)))
    yield FactList(tuple(rows))


def said_at(told: IncidentStory, cause: ExplainedCause) -> str:
    """What was found, as it was said then."""
    when = clock(cause.at_s, (told.around.since_s, told.around.until_s))
    words = named_cause(cause.id) if cause.finding is None else printable(say(cause.finding))
    return tr("At {time}: {sentence}.", time=when, sentence=words)


def _explained(cause: ExplainedCause) -> Explained | None:
    if cause.found is None or cause.finding is None:
        return None
    alike = [one for one in cause.found.findings if one.finding.id == cause.id]
    return alike[0] if alike else None


def _ruled_out(cause: ExplainedCause) -> Iterator[DocumentBlock]:
    found = cause.found
    if found is None:
        yield Paragraph(tr("What was ruled out is not known: that reading is not recorded as a whole."), "note")
        return
    near = [one for one in found.ruled_out if one.near]
    if near:
        own = () if cause.finding is None else cause.finding.facts
        rows = tuple((", ".join(one.ids), _by(one.facts, own)) for one in near)
        yield TableRows((tr("Looks alike, and was ruled out"), tr("By")), rows)
    explained = _explained(cause)
    if explained is not None and explained.confidence is Confidence.CERTAIN and not near:
        yield Paragraph(tr("No other cause looks like it."), "note")
    others = [id for one in found.ruled_out if not one.near for id in one.ids]
    if others:
        yield Paragraph(tr("Ruled out as well: {ids}.", ids=", ".join(others)), "note")
    if found.undecided:
        yield Paragraph(tr("Not decided: {ids}.", ids=", ".join(found.undecided)), "note")


def _by(facts: Against, own: tuple[Fact, ...]) -> str:
    """The facts that rule a cause out."""
    return tr("the evidence above") if facts == own else printable(phrases(facts))
