"""A cure as the command that carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfopen.core.findings.finding import Verdict
from halfopen.core.policy.look import Look
from halfopen.core.units import netns_words

if TYPE_CHECKING:
    from halfopen.core.findings.cures import Cure, CureStep


def command(cure: Cure) -> str:
    """The command line of a cure, with `&&` where it takes several."""
    return " && ".join(map(_command, cure))


def next_commands(verdict: Verdict) -> list[str]:
    """The next steps, as command lines, the best first."""
    return list(dict.fromkeys(map(command, verdict.next)))


def _command(action: CureStep) -> str:
    if isinstance(action, Look):
        return f"{'sudo ' if action.as_root else ''}halfopen {action.command}{netns_words(action.netns)}"
    # All that may be proposed takes long to load, and an idle host needs none of it.
    from halfopen.present.findings.steps import step

    return step(action)
