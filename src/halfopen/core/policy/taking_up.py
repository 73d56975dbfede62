"""Incidents that an earlier watch did not see end: a watch goes on with them where it left off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from halfopen.core.policy.alarms import WatchedListener
from halfopen.core.policy.detection import Watcher
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.stages import AlarmStage, Standing
from halfopen.core.where import Namespace

TAKEN_UP_S: Final = 600.0
"""An incident that nobody saw for longer is over for us: what fires now is another one, with an id of its own."""


def unfinished(found: Iterable[Incident], now_s: float) -> dict[Namespace, tuple[Incident, ...]]:
    """Of incidents, the earliest first, those to be taken up now (since 1970), by namespace: the last of a listener."""
    latest: dict[Namespace, dict[object, Incident]] = {}
    for one in found:
        unseen_s = now_s - (one.began_s + one.lasted_s)
        if not one.over and unseen_s <= TAKEN_UP_S:
            latest.setdefault(one.where, {})[one.listener] = one
    return {where: tuple(of.values()) for where, of in latest.items()}


def taken_up(one: Incident, at_s: float, wall_s: float) -> WatchedListener:
    """What is remembered of its listener, at a monotonic time that is wall_s since 1970: it ends as any other
    does, once it has been calm for long enough.
    """
    # Whether it was calm lately is not known.
    stage = AlarmStage.RISING if one.alarm_s is None else AlarmStage.INCIDENT
    # Never less than was seen, whatever the clock did.
    began_s = at_s - max(one.lasted_s, wall_s - one.began_s)
    begun = () if one.alarm_s is None else (began_s + max(0.0, one.alarm_s - one.began_s),)
    watcher = Watcher(Standing(stage, at_s, begun=begun), began_s=began_s, peak=one.peak.most)
    return WatchedListener(watcher, one.cause, incident=one.id)
