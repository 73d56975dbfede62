"""Every rule is asked; the worst finding comes first, of one level what goes on and costs most clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Finding, Hit, Level, Verdict
from halfopen.core.findings.registry import RULES
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Look, Release

_PARTS = tuple(f.name for f in fields(Hit))


def judged(evidence: Evidence, about: Need | None = None) -> Verdict:
    """The verdict on this evidence; by the rules that need one input alone, where `about` names it."""
    found: list[Finding] = []
    for rule in sorted(RULES.values(), key=lambda rule: rule.fallback):
        if about is not None and about not in rule.needs:
            continue
        explained = any(not RULES[f.id].note for f in found)
        if all(map(evidence.has, rule.needs)) and not (rule.fallback and explained):
            found += [Finding(rule.id, **{part: getattr(hit, part) for part in _PARTS}) for hit in rule.judge(evidence)]
    found.sort(key=lambda f: (-f.level, f.past, -f.costs_per_s))
    return verdict_on(evidence.now, found)


def verdict_on(now: Model, found: Sequence[Finding]) -> Verdict:
    """The verdict that these findings come to, the worst first."""
    cures = tuple(dict.fromkeys(c for f in found for c in f.cures if _possible(now, c)))
    stay = (Look(now.sample.where.name, "watch", "stay on watch"),)
    return Verdict(found[0].level if found else Level.OK, tuple(found), cures or (stay,))


def _possible(model: Model, cure: Cure) -> bool:
    """Where netlink is refused, a release is as well."""
    return model.sample.completeness.source != "proc" or not any(isinstance(action, Release) for action in cure)
