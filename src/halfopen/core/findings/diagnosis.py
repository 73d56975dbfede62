"""A diagnosis: the verdict, how sure each finding is, and what was ruled out by which facts."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.filters import Filter
from halfopen.core.findings import excluding as _excluding  # noqa: F401  (fills the registry)
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.evidence import ON_DEMAND, Evidence
from halfopen.core.findings.exclusions import EXCLUSIONS, Against
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.judging import judged
from halfopen.core.findings.registry import RULES, is_note
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.model.narrowed import only


class Confidence(Enum):
    """How sure a finding is.

    CERTAIN: the facts state the cause, and each cause that looks the same is ruled out or was found as well. LIKELY: a
    cause that looks the same is not ruled out, or the reading is not whole. CANNOT_TELL: the facts decide for no cause.
    """

    CERTAIN = "certain"
    LIKELY = "likely"
    CANNOT_TELL = "cannot tell"


class TimeBase(Enum):
    """When a fact is from: NOW: the last look. BETWEEN: the time between the looks. EVER: since the namespace was
    made. AGES: worked out from the ages of those that last.
    """

    NOW = "now"
    BETWEEN = "between"
    EVER = "ever"
    AGES = "ages"


_BY_AGES = frozenset({"unanswered_per_s", "unanswered_share", "came_per_s", "last_syn_s", "given_up_s"})
_BETWEEN = frozenset(
    {
        "accepted_at_most",
        "accepted",
        "handshake_s",
        "finished",
        "finished_by_them",
        "late",
        "late_share",
        "ports",
        "came_between",
        "without_timestamps",
        "backlog_needed",
        "under_way",
    }
)


# Why a finding that other causes look like is not certain, for reasons of the reading.
NOT_WHOLE = "the reading is not whole"
NOT_COUNTED = "which sources finish handshakes was not counted"
DOUBTS = (NOT_WHOLE, NOT_COUNTED)


def time_base(fact: Fact) -> TimeBase:
    """When a fact is from."""
    if fact.name in _BY_AGES and not fact.between:
        return TimeBase.AGES
    if fact.between or fact.name in _BETWEEN or fact.unit == "per_s":
        return TimeBase.BETWEEN
    # The kernel's own names are those of counters.
    return TimeBase.EVER if fact.name[:1].isupper() or fact.name in ("drops", "dropped_syns") else TimeBase.NOW


class Explained(Struct, frozen=True):
    """A finding, how sure it is, the ids of causes that look the same and could not be ruled out, and what else is in
    doubt ("": nothing).
    """

    finding: Finding
    confidence: Confidence
    rivals: tuple[str, ...] = ()
    doubt: str = ""


class RuledOut(Struct, frozen=True):
    """Causes that the same facts exclude, by their ids. near: they look like what was found."""

    ids: tuple[str, ...]
    facts: Against
    near: bool = False


class Diagnosis(Struct, frozen=True):
    """The findings in a namespace in `seconds` between two looks (None: there was one look only).

    findings: the worst first. ruled_out: causes with the facts that exclude them, first those that look like what was
    found. undecided: ids of causes that were neither found nor ruled out.
    """

    now: Model
    verdict: Verdict
    seconds: float | None
    findings: tuple[Explained, ...]
    ruled_out: tuple[RuledOut, ...]
    undecided: tuple[str, ...]

    @property
    def causes(self) -> tuple[Explained, ...]:
        """The findings that name a cause, or say that none can be told."""
        return tuple(one for one in self.findings if not is_note(one.finding))

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that say something about the reading, or about connections that are no trouble."""
        return tuple(one.finding for one in self.findings if is_note(one.finding))


def diagnosis(e: Evidence) -> Diagnosis:
    """Judge the evidence, and say how sure that is."""
    verdict = judged(e)
    found = {finding.id for finding in verdict.findings}
    why = dict(_exclusions(e, verdict, found))
    findings = tuple(_explained(e, finding, found, why) for finding in verdict.findings)
    rivals = {id for finding in verdict.findings for id in _rivals(finding.id)}
    # Where a subject was not read, nothing is undecided about it.
    asked = [rule for rule in RULES.values() if all(map(e.has, ON_DEMAND.intersection(rule.needs)))]
    known = [rule.id for rule in asked if rule.id in EXCLUSIONS and max(rule.levels) > Level.OK]
    undecided = tuple(id for id in known if id not in found and id not in why)
    seconds = e.interval_s if e.rates else None
    near = _grouped([id for id in why if id in rivals], why, near=True)
    far = _grouped([id for id in why if id not in rivals], why, near=False)
    return Diagnosis(e.now, verdict, seconds, findings, (*near, *far), undecided)


def _exclusions(e: Evidence, verdict: Verdict, found: set[str]) -> Iterator[tuple[str, Against]]:
    """Each cause that is ruled out, in the order of the rules, with the facts that exclude it."""
    by_finding = {id: finding.facts for finding in verdict.findings for id in finding.rules_out}
    for rule in RULES.values():
        if rule.id in found or rule.id not in EXCLUSIONS:
            continue
        facts = EXCLUSIONS[rule.id].exclude(e) or by_finding.get(rule.id, ())
        if facts:
            yield rule.id, facts


def _rivals(id: str) -> tuple[str, ...]:
    return EXCLUSIONS[id].rivals if id in EXCLUSIONS else ()


def _explained(e: Evidence, finding: Finding, found: set[str], why: dict[str, Against]) -> Explained:
    if RULES[finding.id].fallback:
        return Explained(finding, Confidence.CANNOT_TELL)
    rivals = tuple(id for id in _rivals(finding.id) if id in RULES and id not in found and id not in why)
    doubt = _doubt(e, finding.id)
    return Explained(finding, Confidence.LIKELY if rivals or doubt else Confidence.CERTAIN, rivals, doubt)


def _doubt(e: Evidence, id: str) -> str:
    """One of DOUBTS; empty where there is none."""
    if not _rivals(id):
        return ""
    if not e.now.sample.completeness.whole:
        return NOT_WHOLE
    unknown = EXCLUSIONS[id].by_source and e.completions_per_s > 0 and not e.counted
    return NOT_COUNTED if unknown else ""


def _grouped(ids: list[str], why: dict[str, Against], *, near: bool) -> tuple[RuledOut, ...]:
    """Causes that the same facts exclude together."""
    by_facts: dict[Against, list[str]] = {}
    for id in ids:
        by_facts.setdefault(why[id], []).append(id)
    return tuple(RuledOut(tuple(same), facts, near) for facts, same in by_facts.items())


def at_listeners(whole: Diagnosis, filter: Filter) -> Diagnosis:
    """Without the findings that concern other listeners than the filter means."""
    now = only(whole.now, filter)
    meant = {view.key for view in now.listeners}
    kept = tuple(one for one in whole.findings if one.finding.listener is None or one.finding.listener.key in meant)
    verdict = verdict_on(whole.now, [one.finding for one in kept])
    return replace(whole, now=now, verdict=verdict, findings=kept)
