"""The verdict that findings come to. Loads no rule."""

from __future__ import annotations

from collections.abc import Sequence

from halfopen.core.findings.cures import Cure
from halfopen.core.findings.finding import Finding, Level, Verdict
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Look, Release


def verdict_on(now: Model, found: Sequence[Finding]) -> Verdict:
    """The verdict that these findings come to, the worst first."""
    cures = tuple(dict.fromkeys(c for f in found for c in f.cures if _possible(now, c)))
    stay = (Look(now.sample.where.name, "watch", "stay on watch"),)
    return Verdict(found[0].level if found else Level.OK, tuple(found), cures or (stay,))


def _possible(model: Model, cure: Cure) -> bool:
    """Where netlink is refused, a release is as well."""
    return model.sample.completeness.source != "proc" or not any(isinstance(action, Release) for action in cure)
