"""What can be changed from the screen: a release at the chosen listener, and the change that a finding proposes.

Each is first counted or planned and shown. What is carried out is the same object that was shown and confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from halfopen.core.filters import Filter
from halfopen.core.findings.cures import Cure
from halfopen.core.live import LiveNamespace
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Release
from halfopen.core.tune.goals import AS_ASKED, WantedSetting
from halfopen.core.tune.keys import BACKLOG, RETRIES
from halfopen.core.units import endpoint, listener_text
from halfopen.linux.netns import Netns

if TYPE_CHECKING:
    from halfopen.core.tune.listener import Wishes
    from halfopen.core.tune.plan import Plan

# The minimum ages that the key of a release goes through; the first is the one that findings propose.
AGES_S: Final = (3.0, 10.0, 30.0, None, 1.0)


def release_of(space: LiveNamespace, view: ListenerView, older_than_s: float | None, reason: str) -> Release:
    """The release of the half-open connections of a listener, with the ids of the incidents under way there."""
    place = endpoint(listener_text(view.address, view.port))
    on = tuple(one.id for one in space.incidents if one.listener in (None, view.key))
    return Release(space.model.sample.where, Filter(older_than_s, None, (place,)), reason, on)


def next_age(older_than_s: float | None) -> float | None:
    """The age in AGES_S after this one; the first after the last."""
    return AGES_S[(AGES_S.index(older_than_s) + 1) % len(AGES_S)] if older_than_s in AGES_S else AGES_S[0]


class PlannedCure(Struct, frozen=True):
    """The plan of the first step of a cure. cure: that step and those after it."""

    cure: Cure
    plan: Plan


def tune_of(space: LiveNamespace, view: ListenerView | None) -> Cure | None:
    """The change of a setting or of a listener that the verdict proposes, this listener's first; None where
    there is none.
    """
    mine = [f for f in space.verdict.findings if view is not None and f.listener is not None and f.at.key == view.key]
    cures = [*(cure for finding in mine for cure in finding.cures), *space.verdict.next]
    return next((cure for cure in cures if cure and all(_is_change(step) for step in cure)), None)


def _is_change(step: object) -> bool:
    return isinstance(step, ChangeSetting) or (isinstance(step, ChangeListener) and step.key in (BACKLOG, RETRIES))


def plan_of(cure: Cure, ns: Netns, reason: str, audit_log: str | None) -> PlannedCure:
    """The plan of the first step of a cure that would still change something. Raises: as `make_plan` and
    `plan_listener`.
    """
    from halfopen.core.tune.plan import Request
    from halfopen.ops.tune.listener import plan_listener
    from halfopen.ops.tune.plan import make_plan

    for i, step in enumerate(cure):
        if isinstance(step, ChangeSetting):
            wanted = WantedSetting(step.key, step.value, AS_ASKED)
            plan = make_plan(ns, Request(sets=(wanted,), reason=reason), audit_log=audit_log)
        elif isinstance(step, ChangeListener):
            address, port = endpoint(listener_text(step.address, step.port))
            plan = plan_listener(ns, address, port, _wishes(step), reason=reason, audit_log=audit_log)
        else:
            continue
        if plan.todo or i + 1 == len(cure):
            return PlannedCure(cure[i:], plan)
    raise ValueError("a cure that changes nothing")


def _wishes(step: ChangeListener) -> Wishes:
    from halfopen.core.tune.listener import Wishes

    return Wishes(backlog=step.value) if step.key == BACKLOG else Wishes(retries=step.value)
