"""The sink of a watch that makes notices: one at each change of an incident, and one from time to time while
it lasts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.notice import Notice, NoticeFact, NoticeState
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.readings import subject_text
from halfopen.core.reports import Decided, Did, Reading, Report, Round, TakenUp
from halfopen.present.alarm_words import explaining, proposed
from halfopen.present.notice import ToldIncident, releases, texts

FRESH_S: Final = 30.0
"""How often a notice is made of every incident that lasts, changed or not: so a receiver can tell an incident that
lasts from one of which nothing is heard any more.
"""
# An upper limit of notices a second of an incident, to continue the numbers of an earlier watch.
_TOLD_PER_S: Final = 20
_STATES: Final = {Rising: NoticeState.RISING, Alarm: NoticeState.FIRING, CauseChanged: NoticeState.UPDATED}


class _Kept(Struct, frozen=True):
    """The state of an incident on a host, with the data of its sentences. sign: the first sign, or the one that
    decided. waiting: half-open connections. told: the number of the last notice.
    """

    incident: Incident
    host: str
    sign: Rising | Alarm | None = None
    finding: Finding | None = None
    cures: tuple[str, ...] = ()
    waiting: int = 0
    told: int = 0

    @property
    def lasting(self) -> NoticeState:
        """The state of an incident that goes on."""
        return NoticeState.RISING if self.incident.alarm_s is None else NoticeState.UPDATED


class Notices:
    """Calls `to` with a Notice whenever there is news of an incident. `to` must not block or raise."""

    def __init__(self, to: Callable[[Notice], object]) -> None:
        self._to = to
        self._on: dict[str, _Kept] = {}
        self._fresh_at = 0.0

    def take(self, event: Report) -> None:
        """Take in a report."""
        match event:
            case Reading() if self._on:
                for one in event.incidents:
                    if (kept := self._on.get(one.id)) is not None:
                        self._seen(kept, one, event)
            case TakenUp():
                self._fresh_at = time.monotonic() + FRESH_S
                for one in event.incidents:
                    told = math.ceil(one.lasted_s) * _TOLD_PER_S
                    self._on[one.id] = _Kept(one, event.model.sample.host.name, told=told)
            case Decided() if event.incident is not None:
                self._decided(event.model, event.action, event.verdict, event.incident)
            case Did():
                self._did(event.incidents)
            case Round() if self._on and time.monotonic() >= self._fresh_at:
                self._fresh_at = time.monotonic() + FRESH_S
                for kept in list(self._on.values()):
                    self._tell(kept, kept.lasting, time.time())

    def _seen(self, kept: _Kept, one: Incident, event: Reading) -> None:
        """A reading of an incident that goes on."""
        before, now_s = kept.incident.silenced(event.model.sample.wall_s), event.model.sample.wall_s
        waiting = kept.waiting if one.about_connections else _waiting(event.model, one.listener)
        kept = replace(kept, incident=one, waiting=waiting)
        if kept.finding is None and one.cause and event.verdict is not None:
            kept = _explained(kept, event.verdict)
        self._on[one.id] = kept
        if (one.silenced(now_s) is None) != (before is None):
            self._tell(kept, kept.lasting, now_s)

    def _decided(self, model: Model, action: Telling, verdict: Verdict | None, one: Incident) -> None:
        kept = self._on.get(one.id) or _Kept(one, model.sample.host.name)
        kept = replace(kept, incident=one, waiting=action.half_open)
        if isinstance(action, Rising | Alarm):
            kept = replace(kept, sign=action)
        if isinstance(action, Alarm | CauseChanged) and verdict is not None:
            kept = _explained(kept, verdict)
        if isinstance(action, Passed | Clear):
            self._on.pop(one.id, None)
        else:
            if not self._on:
                self._fresh_at = time.monotonic() + FRESH_S
            self._on[one.id] = kept
        self._tell(kept, _STATES.get(type(action), NoticeState.RESOLVED), model.sample.wall_s)

    def _did(self, incidents: tuple[Incident, ...]) -> None:
        """Process a release: the first one that did something is news; later ones are part of the next notice."""
        for one in incidents:
            kept = self._on.get(one.id)
            if kept is None:
                continue
            first = not releases(kept.incident) and bool(releases(one))
            self._on[one.id] = kept = replace(kept, incident=one)
            if first:
                self._tell(kept, kept.lasting, time.time())

    def _tell(self, kept: _Kept, state: NoticeState, at_s: float) -> None:
        one = kept.incident
        if one.id in self._on:
            self._on[one.id] = replace(kept, told=kept.told + 1)
        said = texts(ToldIncident(state, kept.host, one, kept.sign, at_s, kept.waiting, kept.finding, kept.cures))
        cause = one.causes[-1] if one.causes else None
        self._to(
            Notice(
                incident=one.id,
                state=state,
                number=kept.told + 1,
                host=kept.host,
                netns=one.where.name,
                boot_id=one.where.boot_id,
                inode=one.where.inode,
                at_s=at_s,
                began_s=one.began_s,
                ended_s=at_s if state is NoticeState.RESOLVED else None,
                alarmed=one.alarm_s is not None,
                listener=subject_text(one.listener),
                cause=one.cause,
                level=_level(one),
                because=one.because,
                title=said.title,
                log=said.log,
                summary=said.summary,
                text=said.text,
                cures=kept.cures,
                waiting=kept.waiting,
                peak=one.peak.most,
                unanswered=one.unanswered,
                arrivals=one.arrivals,
                evidence=tuple(NoticeFact(f.name, f.value, f.limit, f.unit) for f in cause.facts) if cause else (),
                actions=said.actions,
                silenced=one.silenced(at_s) is not None,
            )
        )


def _explained(kept: _Kept, verdict: Verdict) -> _Kept:
    """The same with the finding that is the cause (at this listener, if there are several) and its proposals."""
    one = kept.incident
    finding = explaining(verdict, one.cause, one.listener)
    return replace(kept, finding=finding, cures=tuple(proposed(verdict, finding, one.listener, one.where.name)))


def _level(one: Incident) -> str:
    """The level of an incident: at least a warning for an alarm, whatever the level of the finding."""
    if one.alarm_s is None:
        return "notice"
    critical = bool(one.causes) and one.causes[-1].level == Level.CRITICAL.name.lower()
    return "critical" if critical else "warning"


def _waiting(model: Model, listener: Subject) -> int:
    if listener is None:
        return model.half_open - model.may_have_answered
    return next((v.half_open - v.may_have_answered for v in model.views if v.key == listener), 0)
