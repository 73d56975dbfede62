"""The work of `report`: puts together what history and flight records hold of an incident or a period."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.cures import Cure
from halfopen.core.findings.diagnosis import diagnosis
from halfopen.core.findings.evidence import Evidence
from halfopen.core.flight import (
    AROUND_S,
    FlightEntry,
    FlightHead,
    FlightTold,
    FlightWithheld,
    ReplayedReading,
)
from halfopen.core.history import HistoryAnswer, lost
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Look
from halfopen.core.policy.alarms import Alarm, CauseChanged
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.postmortem import ExplainedCause, IncidentStory, KeptTime, PostMortem, RecordStory, WithheldThen
from halfopen.core.version import __version__
from halfopen.linux import identity
from halfopen.ops.history import releases_of, told
from halfopen.ops.replay import played
from halfopen.store import flights
from halfopen.store.database import HistoryPlace
from halfopen.store.reader import History, HistoryWanted

# How many incidents of a period are told in full: those with the most drops, then the largest.
TOLD_MOST: Final = 8
_UNRECORDED: Final = "it has no flight record"


def of_incident(place: HistoryPlace, id: str, now_s: float) -> PostMortem:
    """The post-mortem of the incident with that id, or with an id that has `id` as a part.

    Raises: UnknownTarget, UsageError, HistoryError, NotPermitted.
    """
    with History(place) as kept:
        one = kept.incident(id)
        return PostMortem(now_s, __version__, _host([one]), (_told(kept, one, now_s),))


def of_time(place: HistoryPlace, wanted: HistoryWanted, now_s: float) -> PostMortem:
    """The post-mortem of a period, with the worst of its incidents in full. Raises: HistoryError, NotPermitted."""
    # Whole seconds, so that `history --since … --until …` can ask for the same period.
    wanted = replace(wanted, since_s=math.floor(wanted.since_s), until_s=math.ceil(wanted.until_s))
    with History(place) as kept:
        answer = told(kept, wanted, now_s)
        worst = sorted(answer.incidents, key=lambda one: (-one.turned_away, -one.peak.half_open))[:TOLD_MOST]
        shown = [one for one in answer.incidents if one in worst]
        return PostMortem(
            now_s,
            __version__,
            _host(answer.incidents, (span.where.boot_id for span in answer.spans)),
            tuple(_told(kept, one, now_s) for one in shown),
            _kept(answer),
            answer.incidents,
            len(answer.rises),
            wanted.netns or "",
        )


def _host(incidents: Iterable[Incident], boots: Iterable[str] = ()) -> str:
    """The name of this machine, if everything was seen since its last boot; else "", as the history may be a copy from
    another machine.
    """
    seen = {*(one.where.boot_id for one in incidents), *boots}
    return identity.host().name if seen == {identity.boot_id()} else ""


def _kept(answer: HistoryAnswer) -> KeptTime:
    return KeptTime(
        answer.since_s,
        answer.until_s,
        answer.step_s,
        answer.series,
        answer.spans,
        answer.settings,
        answer.releases,
    )


def _told(kept: History, one: Incident, now_s: float) -> IncidentStory:
    end_s = one.ended_s if one.ended_s is not None else one.began_s + one.lasted_s
    # Whole seconds, as in `of_time`.
    since_s, until_s = math.floor(one.began_s), math.ceil(max(end_s, one.began_s + 1))
    netns = str(one.where.inode)
    during = told(kept, HistoryWanted(since_s, until_s, netns), now_s)
    around = told(kept, HistoryWanted(since_s - AROUND_S, min(until_s + AROUND_S, max(now_s, until_s)), netns), now_s)
    made = IncidentStory(one, _kept(during), _kept(around), lost(one, now_s), releases=tuple(releases_of(kept, one)))
    try:
        entries, problem = flights.read(kept.place.flights, one.id)
    except HalfopenError as e:
        causes = tuple(ExplainedCause(cause.at_s, cause.id, level=cause.level) for cause in one.causes)
        there = flights.has(kept.place.flights, one.id)
        return replace(made, causes=causes, unrecorded=e.message if there else _UNRECORDED)
    return _with_record(made, entries, problem)


def _with_record(made: IncidentStory, entries: list[FlightEntry], problem: str) -> IncidentStory:
    """The incident with what its flight record, played once, says of it."""
    one, before, now = made.incident, None, None
    seen = _Seen(one.listener, one.cause)
    for entry in played(entries):
        if isinstance(entry, FlightHead):
            seen.version = entry.version or seen.version
        elif isinstance(entry, ReplayedReading):
            before, now = None if now is None else now.model.bare(), entry
            seen.reading(entry)
        elif isinstance(entry, FlightTold) and now is not None and entry.telling.incident == one.id:
            if isinstance(entry.telling, Alarm | CauseChanged):
                seen.cause(entry.wall_s, entry.telling.cause, now, before)
        elif isinstance(entry, FlightWithheld) and now is not None and entry.action.listener in (None, one.listener):
            seen.withheld.append(WithheldThen(now.model.sample.wall_s, entry.action))
    known = {cause.at_s for cause in seen.causes}
    others = [ExplainedCause(c.at_s, c.id, level=c.level) for c in one.causes if c.at_s not in known]
    causes = sorted((*seen.causes, *others), key=lambda cause: cause.at_s)
    return replace(made, causes=tuple(causes), record=seen.record(problem))


class _Seen:
    """The facts gathered while a record is played."""

    def __init__(self, listener: Subject, cause: str) -> None:
        self.version = ""
        self.causes: list[ExplainedCause] = []
        self.withheld: list[WithheldThen] = []
        self._listener, self._cause = listener, cause
        self._count = 0
        self._last: Model | None = None
        self._left_out: dict[str, None] = {}
        self._again = True
        self._view: ListenerView | None = None
        self._cures: tuple[Cure, ...] = ()
        self._cures_beside: tuple[Cure, ...] = ()

    def reading(self, one: ReplayedReading) -> None:
        self._last = one.model
        self._count += not one.glance
        self._left_out.update(dict.fromkeys(one.left_out))
        self._again &= one.again or bool(one.left_out)
        verdict = one.verdict
        # In a large flood the reading of the alarm is recorded in part; a smaller one beside it may be whole.
        if verdict is not None and one.again and not one.left_out and self._cause in (f.id for f in verdict.findings):
            self._cures_beside = tuple(cure for cure in verdict.next if not _stays(cure))
        view = next((v for v in one.model.listeners if v.key == self._listener), None)
        if view is not None and (self._view is None or _held(view) > _held(self._view)):
            self._view = view

    def cause(self, at_s: float, id: str, one: ReplayedReading, before: Model | None) -> None:
        verdict = one.verdict
        alike = [] if verdict is None else [f for f in verdict.findings if f.id == id]
        mine = [f for f in alike if f.listener is not None and f.listener.key == self._listener]
        finding = next(iter((*mine, *alike)), None)
        # Judged by a part of a reading, a cause might be ruled out that the whole reading leaves open.
        whole = one.again and not one.left_out
        found = diagnosis(Evidence(one.model, before)) if whole else None
        level = "" if finding is None else finding.level.name.lower()
        self.causes.append(ExplainedCause(at_s, id, finding, found, level))
        if verdict is not None and whole:
            self._cures = tuple(cure for cure in verdict.next if not _stays(cure))

    def record(self, problem: str) -> RecordStory:
        return RecordStory(
            self._count,
            None if self._last is None else self._last.sample.host,
            self.version,
            problem,
            tuple(self._left_out),
            self._again,
            self._view,
            tuple(self.withheld),
            self._cures or self._cures_beside,
        )


def _held(view: ListenerView) -> int:
    return view.half_open + view.accept_queue


def _stays(cure: Cure) -> bool:
    """Whether a cure only says to keep watching."""
    return all(isinstance(step, Look) and step.command == "watch" for step in cure)
