"""From the releases that policies ask for to those that are carried out: budgets, policies that only observe, and what
is said of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.policy.actions import Release, Withheld, Withholding
from halfopen.core.policy.alarms import WatchedListeners
from halfopen.core.policy.choosing import Candidate, Choice
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.events import Seen
from halfopen.core.policy.readings import subject_text
from halfopen.core.policy.release_policy import BudgetLeft, Noted

Notes = Mapping[tuple[str, Subject], Noted]
"""What was said of policies, by the name of each and the listener."""


class DecidedReleases(Struct, frozen=True):
    """The releases to carry out, those that are not, and what is left of the budgets."""

    releases: tuple[Release, ...]
    withheld: tuple[Withheld, ...]
    budgets: Mapping[str, BudgetLeft]


def decide(choice: Choice, event: Seen, budgets: Mapping[str, BudgetLeft], reason: str) -> DecidedReleases:
    """Decide on the candidates, of which it was counted what each would find. reason: the operator's, "" for none."""
    releases: list[Release] = []
    withheld: list[Withheld] = []
    left = dict(budgets)
    for one in choice.candidates:
        found, policy = event.matching[one.release], one.policy
        if isinstance(found, str):
            withheld.append(Withheld(one.release, one.listener, Withholding.CANNOT_TELL, None, found))
            continue
        if not found:
            continue
        release = replace(one.release, reason=reason or _reason(one, found))
        if not policy.acts:
            withheld.append(Withheld(release, one.listener, Withholding.OBSERVES, found))
            continue
        if policy.budget_per_s is not None:
            full = BudgetLeft(float(policy.budget_per_s), event.at_s)
            bucket = left.get(policy.name, full).at(event.at_s, policy.budget_per_s)
            # More will be old enough by then than were counted; what is not used comes back.
            most = min(found + found // 4 + 64, int(bucket.left))
            left[policy.name] = bucket.after(most)
            if most < found:
                detail = f"{policy.budget_per_s:,}/s"
                withheld.append(Withheld(release, one.listener, Withholding.BUDGET, found - most, detail))
            if not most:
                continue
            release = replace(release, most=most)
        releases.append(release)
    return DecidedReleases(tuple(releases), tuple(withheld), left)


def _reason(one: Candidate, found: int) -> str:
    """Why it is released: how many, of which kind and, by a policy with a name, what decided."""
    if not one.policy.by_listener:
        return f"watch: {found} {one.release.filter.describe()}"
    facts = dict(one.release.decided_by)
    words = [str(facts["cause"])] if "cause" in facts else []
    words += [f"SYN queue {facts['fill']:.0%} full"] if "fill" in facts else []
    words.append(f"{found} {one.policy.filter.describe()}")
    return f"policy {one.policy.name}: {', '.join(words)} at {subject_text(one.listener)}"


def note(
    before: Notes, withheld: Iterable[Withheld], at_s: float, alarms: WatchedListeners, calm_s: float
) -> tuple[dict[tuple[str, Subject], Noted], list[Withheld]]:
    """What is to be said of releases that are not carried out: each reason once, until no alarm is on at the listener
    and nothing was withheld there for calm_s.
    """
    after = {
        key: one
        for key, one in before.items()
        if at_s - one.last_s <= calm_s or ((there := alarms.get(key[1])) is not None and there.watcher.alarmed)
    }
    said: list[Withheld] = []
    for one in withheld:
        key = one.release.policy, one.listener
        known = after.get(key, Noted())
        if one.why.value not in known.said:
            said.append(one)
        after[key] = Noted(known.said | {one.why.value}, at_s)
    return after, said
