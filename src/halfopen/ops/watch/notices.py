"""The sink of a watch that makes notices of its reports: one at each turn of an incident, and a fresh one from time to
time while it lasts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from halfopen.core.findings.finding import Finding, Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.notice import Notice, NoticeFact, NoticeState
from halfopen.core.policy.actions import Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.readings import subject_text
from halfopen.core.reports import Decided, Did, Reading, Report, Round
from halfopen.core.where import Namespace
from halfopen.present.alarm_words import because, explaining, sign
from halfopen.present.findings.cures import command, next_commands
from halfopen.present.notice import ToldIncident, message, released, summary, title

FRESH_S: Final = 30.0
"""So often a notice is made of every incident that lasts, whether it changed or not: a receiver of notices that hears
of an incident no more can tell that from one that lasts.
"""
_ACTIONS: Final = 12
_LEVELS: Final = {Level.CRITICAL: "critical", Level.WARNING: "warning"}


@dataclass(frozen=True, slots=True)
class _Incident:
    """What is remembered of an incident that is not over; what: the sign that decided, in words."""

    id: str
    host: str
    where: Namespace
    listener: Subject
    began_s: float
    what: str
    because: str
    alarmed: bool = False
    cause: str = ""
    finding: Finding | None = None
    cures: tuple[str, ...] = ()
    waiting: int = 0
    peak: int = 0
    unanswered: int | None = None
    arrivals: int | None = None
    actions: tuple[str, ...] = ()


class Notices:
    """Hands a Notice to `to` whenever there is news of an incident. `to` must not block, and raises nothing."""

    def __init__(self, to: Callable[[Notice], None]) -> None:
        self._to = to
        self._open: dict[tuple[Namespace, Subject], _Incident] = {}
        self._fresh_at = 0.0

    def take(self, event: Report) -> None:
        """Take in a report."""
        match event:
            case Reading() if self._open:
                self._seen(event.model)
            case Decided(model, action, verdict):
                self._decided(model, action, verdict)
            case Did():
                self._did(event.outcome)
            case Round() if self._open and time.monotonic() >= self._fresh_at:
                self._fresh_at = time.monotonic() + FRESH_S
                for one in self._open.values():
                    self._tell(one, NoticeState.UPDATED if one.alarmed else NoticeState.RISING, time.time())

    def _seen(self, model: Model) -> None:
        """How many wait now, at the listeners with an incident."""
        for key, one in self._open.items():
            if key[0] == model.sample.where:
                waiting = _waiting(model, one.listener)
                self._open[key] = replace(one, waiting=waiting, peak=max(one.peak, waiting))

    def _decided(self, model: Model, action: Telling, verdict: Verdict | None) -> None:
        key, at_s = (action.where, action.listener), model.sample.wall_s
        one = self._open.get(key) or _begun(model, action)
        one = replace(one, where=action.where, waiting=action.half_open, peak=max(one.peak, action.half_open))
        match action:
            case Rising():
                state = NoticeState.RISING
                one = replace(one, what=sign(action), because=action.because)
            case Alarm():
                state = NoticeState.FIRING
                one = replace(one, alarmed=True, what=because(action), because=action.because)
                one = replace(one, unanswered=action.unanswered, arrivals=action.arrivals)
                one = _explained(one, action.cause, verdict)
            case CauseChanged():
                state = NoticeState.UPDATED
                one = _explained(one, action.cause, verdict)
            case Passed():
                state = NoticeState.RESOLVED
            case Clear():
                state = NoticeState.RESOLVED
                one = replace(one, alarmed=True, cause=action.cause, peak=max(one.peak, action.peak))
        if state is NoticeState.RESOLVED:
            self._open.pop(key, None)
        else:
            self._open[key] = one
        self._tell(one, state, at_s, action.gone if isinstance(action, Clear) else "")

    def _did(self, outcome: Released) -> None:
        """A release: said with every incident that it may have concerned."""
        if not (outcome.released or outcome.failed):
            return
        for key, one in self._open.items():
            if key[0] == outcome.action.where and _concerns(outcome, one.listener):
                one = replace(one, actions=(*one.actions, released(outcome))[-_ACTIONS:])
                self._open[key] = one
                if len(one.actions) == 1:
                    self._tell(one, NoticeState.UPDATED if one.alarmed else NoticeState.RISING, time.time())

    def _tell(self, one: _Incident, state: NoticeState, at_s: float, gone: str = "") -> None:
        where, listener = one.where, subject_text(one.listener)
        told = ToldIncident(
            state=state,
            host=one.host,
            netns=where.name,
            listener=listener,
            alarmed=one.alarmed,
            what=one.what or "more connections than usual are half-open",
            began_s=one.began_s,
            at_s=at_s,
            waiting=one.waiting,
            peak=one.peak,
            gone=gone,
        )
        explained = summary(one.finding)
        line = title(told)
        self._to(
            Notice(
                incident=one.id,
                state=state,
                host=one.host,
                netns=where.name,
                boot_id=where.boot_id,
                inode=where.inode,
                at_s=at_s,
                began_s=one.began_s,
                ended_s=at_s if state is NoticeState.RESOLVED else None,
                alarmed=one.alarmed,
                listener=listener,
                cause=one.cause,
                level=_level(one),
                because=one.because,
                title=line,
                log=line,
                summary=explained,
                text=message(told, explained, one.cures, one.actions, one.id),
                cures=one.cures,
                waiting=one.waiting,
                peak=one.peak,
                unanswered=one.unanswered,
                arrivals=one.arrivals,
                evidence=_evidence(one.finding),
                actions=one.actions,
            )
        )


def incident_id(where: Namespace, listener: Subject, began_s: float) -> str:
    """The id of an incident: when it began, and a hash of where and when, the same for whoever computes it."""
    began_ms = round(began_s * 1000)
    named = repr((where.boot_id, where.inode, where.cookie, listener, began_ms)).encode()
    day = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(began_ms // 1000))
    return f"{day}-{hashlib.sha256(named).hexdigest()[:8]}"


def _begun(model: Model, action: Telling) -> _Incident:
    """An incident that nothing was heard of before."""
    lasted_s = action.lasted_s if isinstance(action, Clear | Passed) else 0.0
    began_s = model.sample.wall_s - lasted_s
    id = incident_id(action.where, action.listener, began_s)
    return _Incident(id, model.sample.host.name, action.where, action.listener, began_s, "", "")


def _explained(one: _Incident, cause: str, verdict: Verdict | None) -> _Incident:
    if verdict is None:
        return replace(one, cause=cause)
    mine = [f for f in verdict.findings if f.id == cause and f.listener is not None and f.listener.key == one.listener]
    finding = next(iter(mine), None) or explaining(verdict, cause)
    possible = next_commands(verdict)
    own = [] if finding is None else [line for line in map(command, finding.cures) if line in possible]
    return replace(one, cause=cause, finding=finding, cures=tuple(own or possible))


def _level(one: _Incident) -> str:
    """An alarm is a warning at least, whatever the finding says that explains it."""
    if not one.alarmed:
        return "notice"
    return "warning" if one.finding is None else _LEVELS.get(one.finding.level, "warning")


def _evidence(finding: Finding | None) -> tuple[NoticeFact, ...]:
    facts = () if finding is None else finding.facts
    return tuple(NoticeFact(fact.name, fact.value, fact.limit, fact.unit) for fact in facts)


def _waiting(model: Model, listener: Subject) -> int:
    if listener is None:
        return model.half_open
    return next((view.half_open for view in model.listeners if view.key == listener), 0)


def _concerns(outcome: Released, listener: Subject) -> bool:
    """Whether a release may have dropped connections of this listener."""
    wanted = outcome.action.filter.listeners
    return listener is None or not wanted or any(port == listener[2] for _, port in wanted)
