"""A line for each finding of a verdict, and what the first line of a screen has no room for."""

from __future__ import annotations

from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.present.findings.headline import counted, leading


def reasons(model: Model, verdict: Verdict) -> list[tuple[Level, str]]:
    """The lines below `headline`, each with its level, the worst first."""
    if not verdict.findings:
        return []
    from halfopen.present.findings.sentences import LEADS, named_before, say

    lead = leading(model, verdict)
    lines = []
    if lead is not None:
        lines += [(lead.level, text) for text in (LEADS[lead.id](lead)[1], named_before(lead))]
        if model.half_open:
            lines.append((Level.OK, counted(model)))
    lines += [(finding.level, say(finding)) for finding in verdict.findings if finding is not lead]
    return [(level, line) for level, line in lines if line]
