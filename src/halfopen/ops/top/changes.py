"""What can be changed from the screen: a release at the chosen listener, and the change that a finding proposes.

Both are looked at first, shown, and carried out as they were shown: the very object that was confirmed.
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

# The ages that a release can be asked for, one after another; the first is that of the findings' own cures.
AGES_S: Final = (3.0, 10.0, 30.0, None, 1.0)


def release_of(space: LiveNamespace, view: ListenerView, older_than_s: float | None, reason: str) -> Release:
    """The release of what is half-open at a listener, during the incidents that are on there."""
    place = endpoint(listener_text(view.address, view.port))
    on = tuple(one.id for one in space.incidents if one.listener in (None, view.key))
    return Release(space.model.sample.where, Filter(older_than_s, None, (place,)), reason, on)


def next_age(older_than_s: float | None) -> float | None:
    """The age that comes after this one."""
    return AGES_S[(AGES_S.index(older_than_s) + 1) % len(AGES_S)] if older_than_s in AGES_S else AGES_S[0]


class PlannedCure(Struct, frozen=True):
    """The first step of a cure, planned. cure: all of it."""

    cure: Cure
    plan: Plan


def tune_of(space: LiveNamespace, view: ListenerView | None) -> Cure | None:
    """The change of a setting or a listener that the verdict proposes: for this listener first; None without any."""
    mine = [f for f in space.verdict.findings if view is not None and f.listener is not None and f.at.key == view.key]
    cures = [*(cure for finding in mine for cure in finding.cures), *space.verdict.next]
    return next((cure for cure in cures if cure and all(_is_change(step) for step in cure)), None)


def _is_change(step: object) -> bool:
    return isinstance(step, ChangeSetting) or (isinstance(step, ChangeListener) and step.key in (BACKLOG, RETRIES))


def plan_of(cure: Cure, ns: Netns, reason: str, audit_log: str | None) -> PlannedCure:
    """The plan of the first step of a cure that changes something. Raises: as `make_plan` and `plan_listener`."""
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
