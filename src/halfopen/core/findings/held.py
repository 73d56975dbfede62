"""A cause that was named stays named while nothing that is seen contradicts it, though one reading alone cannot tell.

A reading of a flood may fall short of what names it: a release took those that last, the queue holds only young ones,
or nobody counts who finishes just then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings import excluding as _excluding  # noqa: F401  (fills the registry)
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import EXCLUSIONS
from halfopen.core.findings.finding import Fact, Finding, Level
from halfopen.core.findings.registry import RULES, is_note
from halfopen.core.findings.verdict import Verdict

# Longer than a watch rests between two times in which it counts who finishes.
_MOST_S: Final = 75.0


class Named(Struct, frozen=True):
    """The last verdict that named a cause, and when (monotonic seconds)."""

    verdict: Verdict
    at_s: float


def undecided(verdict: Verdict) -> bool:
    """Whether no rule knows the cause of what is seen."""
    return any(RULES[f.id].fallback for f in verdict.findings)


def names_a_cause(verdict: Verdict) -> bool:
    """Whether it names one."""
    return not undecided(verdict) and any(map(_is_cause, verdict.findings))


def held(named: Named | None, e: Evidence, verdict: Verdict) -> Verdict:
    """The verdict on this evidence, where it cannot tell with the causes that were named lately and still stand."""
    if named is None or not undecided(verdict):
        return verdict
    ago_s = e.now.sample.monotonic_s - named.at_s
    if not 0 <= ago_s <= _MOST_S:
        return verdict
    kept = list(_standing(named.verdict, e, ago_s))
    # What came behind it may be its companion: a setting that matters in a flood.
    if not kept or kept[0].id != next(filter(_is_cause, named.verdict.findings)).id:
        return verdict
    ids = {finding.id for finding in kept}
    found = [*kept, *(f for f in verdict.findings if not RULES[f.id].fallback and f.id not in ids)]
    return verdict_on(e.now, sorted(found, key=lambda f: -f.level))


def _standing(before: Verdict, e: Evidence, ago_s: float) -> Iterator[Finding]:
    views = {view.key: view for view in e.now.views}
    # Whom it costs now is not known where nobody is dropped.
    most = Level.CRITICAL if e.rate("ListenDrops") else Level.WARNING
    for finding in filter(_is_cause, before.findings):
        view = None if finding.listener is None else views.get(finding.listener.key)
        gone = finding.listener is not None and view is None
        if gone or finding.id not in EXCLUSIONS or EXCLUSIONS[finding.id].exclude(e):
            continue
        facts = (*(f for f in finding.facts if f.name != "named_before_s"), Fact("named_before_s", ago_s, unit="s"))
        yield replace(finding, level=min(finding.level, most), facts=facts, listener=view)


def _is_cause(finding: Finding) -> bool:
    return finding.level > Level.OK and not is_note(finding) and not RULES[finding.id].fallback
