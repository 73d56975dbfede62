"""Words for a release that a policy decides: the numbers it decided by, and why it is not carried out."""

from __future__ import annotations

from typing import assert_never

from halfopen.core.policy.actions import Release, Withheld, Withholding
from halfopen.core.policy.readings import subject_text
from halfopen.core.units import printable
from halfopen.present.chosen_words import chosen
from halfopen.present.language import tr, tr_n


def decided_by(release: Release) -> str:
    """The numbers that a policy decided by: `: spoofed-flood, the SYN queue 85% full`."""
    facts = dict(release.decided_by)
    words = [str(facts["cause"])] if "cause" in facts else []
    words += [tr("the SYN queue {share} full", share=f"{facts['fill']:.0%}")] if "fill" in facts else []
    return tr(": {cause}", cause=tr(", ").join(words)) if words else ""


def withheld_words(action: Withheld) -> str:
    """What becomes of a release that is not carried out."""
    release, n = action.release, action.matching or 0
    who = tr("policy {name}", name=release.policy) if release.policy else tr("the release by age")
    place = release.netns if action.listener is None else subject_text(action.listener)
    match action.why:
        case Withholding.OBSERVES:
            return tr_n(
                "{who} would release {n:,} connection {chosen}{why}; it only observes",
                "{who} would release {n:,} connections {chosen}{why}; it only observes",
                n,
                who=who,
                chosen=chosen(release.filter),
                why=decided_by(release),
            )
        case Withholding.BUDGET:
            return tr_n(
                "{who} leaves {n:,} connection at {place} for later: its budget is {budget}",
                "{who} leaves {n:,} connections at {place} for later: its budget is {budget}",
                n,
                who=who,
                place=place,
                budget=action.detail,
            )
        case Withholding.FORBIDDEN:
            return tr(
                "{who} releases nothing at {place}: {cause} forbids it", who=who, place=place, cause=action.detail
            )
        case Withholding.CANNOT_TELL:
            reason = printable(action.detail)
            return tr("{who} releases nothing at {place}: {reason}", who=who, place=place, reason=reason)
    assert_never(action.why)
