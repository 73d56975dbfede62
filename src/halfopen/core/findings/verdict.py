"""The verdict on one namespace. Where there is nothing to judge, no rule is loaded: most looks are at idle hosts."""

from __future__ import annotations

from halfopen.core.findings.finding import Level
from halfopen.core.findings.finding import Verdict as Verdict
from halfopen.core.findings.idle import nothing_to_judge
from halfopen.core.model.model import Model
from halfopen.core.policy.look import Look


def judge(now: Model, before: Model | None = None, between_s: float | None = None) -> Verdict:
    """Judge one namespace by one reading, or by two of which `before` is the earlier; between_s as in `Evidence`."""
    if before is None and between_s is None and nothing_to_judge(now):
        return Verdict(Level.OK, (), stay(now))
    from halfopen.core.findings.evidence import Evidence
    from halfopen.core.findings.judging import judged

    return judged(Evidence(now, before, between_s))


def stay(now: Model) -> tuple[tuple[Look], ...]:
    """What is next where nothing is to be done."""
    return ((Look(now.sample.where.name, "watch", "stay on watch"),),)
