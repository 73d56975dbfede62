"""Every rule is asked; the worst finding comes first, of one level what goes on and costs most clients."""

from __future__ import annotations

from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Finding, Hit, Verdict
from halfopen.core.findings.floods import unnamed
from halfopen.core.findings.registry import RULES, is_note

_PARTS = Hit.__struct_fields__


def judged(evidence: Evidence, about: Need | None = None) -> Verdict:
    """The verdict on this evidence; by the rules that need one input alone, where `about` names it."""
    found: list[Finding] = []
    for rule in sorted(RULES.values(), key=lambda rule: rule.fallback):
        if about is not None and about not in rule.needs:
            continue
        if all(map(evidence.has, rule.needs)) and not (rule.fallback and _explained(evidence, found)):
            found += [Finding(rule.id, **{part: getattr(hit, part) for part in _PARTS}) for hit in rule.judge(evidence)]
    found.sort(key=lambda f: (-f.level, f.past, -f.costs_per_s))
    return verdict_on(evidence.now, found)


def _explained(evidence: Evidence, found: list[Finding]) -> bool:
    """Whether a cause was found that leaves no crowd of silent sources over, and fills the queue that is full."""
    full = any(evidence.full())
    return any(not is_note(f) and (RULES[f.id].fills or not full) for f in found) and not unnamed(evidence)
