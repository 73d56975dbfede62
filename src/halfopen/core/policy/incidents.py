"""Incidents as data: what an alarm was, from its first sign to its end, put together from what a watch tells of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.finding import Fact
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.turned_away import turned_away
from halfopen.core.policy.actions import Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising, Telling
from halfopen.core.policy.counts import CONNECTIONS, Subject
from halfopen.core.policy.silence import Silence, held
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.where import ListenerKey, Namespace

# For an incident that goes on for days, this many of the causes reported first and last, and of releases by different
# filters.
_CAUSES_MOST: Final = 32
_RELEASES_MOST: Final = 16


class Peak(Struct, frozen=True):
    """The worst of an incident, each by itself.

    half_open: waiting connections that certainly did not answer. fill: share of the SYN queue's limit, None where that
    is not known. drops_per_s: clients turned away a second, at the listener or, without one, in the namespace.
    connections: open or closing ones, where the incident is about these.
    """

    half_open: int = 0
    fill: float | None = None
    drops_per_s: float = 0.0
    connections: int = 0

    @property
    def most(self) -> int:
        """The most connections, of the kind that the incident is about."""
        return self.connections or self.half_open

    def with_more(
        self, half_open: int = 0, fill: float | None = None, drops_per_s: float = 0.0, connections: int = 0
    ) -> Peak:
        """The peak after one more reading."""
        known = [share for share in (self.fill, fill) if share is not None]
        return Peak(
            max(self.half_open, half_open),
            max(known, default=None),
            max(self.drops_per_s, round(drops_per_s, 3)),
            max(self.connections, connections),
        )


class CauseFound(Struct, frozen=True):
    """A cause that was told of an incident: the id of the finding ("": none explains it), its level in lower case and
    its facts, at_s since 1970.
    """

    at_s: float
    id: str
    level: str = ""
    facts: tuple[Fact, ...] = ()


class ReleasesMade(Struct, frozen=True):
    """Releases during an incident by one filter (in words): how many, the first and the last (since 1970), what they
    came to (sums, as in `Released`), and the reason given last.
    """

    filter: str
    reason: str
    times: int
    first_s: float
    last_s: float
    matched: int = 0
    released: int = 0
    gone: int = 0
    failed: int = 0
    spared: int = 0

    def with_more(self, outcome: Released, at_s: float) -> ReleasesMade:
        """The same with one more."""
        return ReleasesMade(
            self.filter,
            outcome.action.reason,
            self.times + 1,
            self.first_s,
            at_s,
            self.matched + outcome.matched,
            self.released + outcome.released,
            self.gone + outcome.gone,
            self.failed + outcome.failed,
            self.spared + outcome.spared,
        )


class Incident(Struct, frozen=True):
    """One incident, as it stands.

    id: as `incident_id`. listener: None for trouble of the namespace. Times are seconds since 1970, as the clock said
    then; alarm_s: None while it is, or was, a rise only; ended_s: None while it goes on. lasted_s: by the monotonic
    clock, since the first sign. stage: QUIET once it is over. because: the sign that decided (`detection.Because`).
    unanswered of the arrivals of one release time: at the alarm. turned_away: clients, as far as was seen. causes: each
    that was told, in order. silences: under which it is, or was. gone: it ended because the "listener" or the
    "namespace" is gone.
    """

    id: str
    where: Namespace
    listener: Subject
    began_s: float
    stage: AlarmStage = AlarmStage.RISING
    because: str = ""
    alarm_s: float | None = None
    ended_s: float | None = None
    lasted_s: float = 0.0
    gone: str = ""
    unanswered: int | None = None
    arrivals: int | None = None
    turned_away: int = 0
    peak: Peak = Peak()
    causes: tuple[CauseFound, ...] = ()
    releases: tuple[ReleasesMade, ...] = ()
    silences: tuple[Silence, ...] = ()

    @property
    def about_connections(self) -> bool:
        """Whether it is about open or closing connections, not about half-open ones."""
        return self.listener == CONNECTIONS

    @property
    def at(self) -> ListenerKey | None:
        """The listener that it is at; None: it is about the namespace, or its connections."""
        return None if self.about_connections else self.listener

    @property
    def cause(self) -> str:
        """The id of the finding that explains it, the one told last; "" if none does."""
        return self.causes[-1].id if self.causes else ""

    @property
    def key(self) -> tuple[Namespace, Subject, str]:
        """Where, and by which cause. Of one listener at most one incident is on at a time; a new cause is an update."""
        return self.where, self.listener, self.cause

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.stage is AlarmStage.QUIET

    def silenced(self, now_s: float) -> Silence | None:
        """The silence under which it is at a time since 1970."""
        return next((one for one in self.silences if one.in_force(now_s)), None)

    @property
    def released(self) -> int:
        """Connections released during it."""
        return sum(one.released for one in self.releases)


class _Before(Struct, frozen=True):
    """The reading before of a namespace, as far as drops are counted by it."""

    at_s: float
    views: tuple[ListenerView, ...]
    counters: Mapping[str, int]


class Incidents:
    """The incidents that are on. Deterministic: what comes out depends on what was handed in alone."""

    def __init__(self) -> None:
        self.silences: tuple[Silence, ...] = ()  # those in force
        self._on: dict[Namespace, dict[str, Incident]] = {}
        self._before: dict[Namespace, _Before] = {}
        self._began: dict[str, float] = {}

    def told(self, model: Model, action: Telling, verdict: Verdict | None) -> Incident:
        """The incident after what is told of it on a reading, with the verdict on that."""
        at_s, now_s = model.sample.wall_s, model.sample.monotonic_s
        on = self._on.setdefault(action.where, {})
        one = on.get(action.incident) or Incident(action.incident, action.where, action.listener, at_s)
        began = self._began.setdefault(one.id, now_s)
        one = replace(_after(one, at_s, action, verdict), where=action.where, silences=self._held(one, at_s))
        if isinstance(action, Passed | Clear):
            self._began.pop(one.id, None)
            on.pop(one.id, None)
            return one
        on[one.id] = one = replace(one, lasted_s=now_s - began)
        return one

    def seen(self, model: Model, on: Mapping[str, AlarmStage], connections: int = 0) -> tuple[Incident, ...]:
        """The incidents that are on in a namespace after a reading; on: their stages, by their ids. connections: so
        many open or closing ones are in trouble.
        """
        where, now_s = model.sample.where, model.sample.monotonic_s
        before = self._before.get(where)
        self._before[where] = _Before(now_s, model.views, model.sample.counters)
        mine = self._on.pop(where, {})
        for id in mine.keys() - on.keys():
            self._began.pop(id, None)
        there = {}
        for id in mine.keys() & on.keys():
            one, lasted_s = mine[id], now_s - self._began[id]
            if one.about_connections:
                one = replace(one, peak=one.peak.with_more(connections=connections))
            else:
                one = _with_reading(one, model, before)
            silences = self._held(one, model.sample.wall_s)
            there[id] = replace(one, where=where, stage=on[id], lasted_s=lasted_s, silences=silences)
        if there:
            self._on[where] = there
        return tuple(there[id] for id in on if id in there)

    def did(self, outcome: Released, at_s: float) -> tuple[Incident, ...]:
        """The incidents during which a release was carried out, at_s since 1970, with its outcome."""
        mine = self._on.get(outcome.action.where, {})
        changed = [_with_release(mine[id], outcome, at_s) for id in outcome.action.incidents if id in mine]
        mine.update((one.id, one) for one in changed)
        return tuple(changed)

    def take_up(self, incidents: Iterable[Incident], now_s: float, wall_s: float) -> tuple[Incident, ...]:
        """Go on with incidents that an earlier watch saw, at a monotonic time that is wall_s since 1970; as they stand
        now.
        """
        taken = []
        for one in incidents:
            lasted_s = max(one.lasted_s, wall_s - one.began_s)
            one = replace(one, lasted_s=lasted_s, silences=self._held(one, wall_s))
            self._began[one.id] = now_s - lasted_s
            self._on.setdefault(one.where, {})[one.id] = one
            taken.append(one)
        return tuple(taken)

    def _held(self, one: Incident, at_s: float) -> tuple[Silence, ...]:
        now = tuple(silence for silence in self.silences if silence.means(one.id, one.listener))
        return held(one.silences, now, at_s)

    def forget(self, where: Namespace) -> None:
        """The namespace is gone."""
        for id in self._on.pop(where, {}):
            self._began.pop(id, None)
        self._before.pop(where, None)


def _after(one: Incident, at_s: float, action: Telling, verdict: Verdict | None) -> Incident:
    n = action.half_open
    peak = one.peak.with_more(connections=n) if one.about_connections else one.peak.with_more(n)
    if isinstance(action, Rising):
        return replace(one, because=action.because, peak=peak)
    if isinstance(action, Alarm):
        return replace(
            one,
            stage=AlarmStage.INCIDENT,
            because=action.because,
            alarm_s=at_s,
            unanswered=action.unanswered,
            arrivals=action.arrivals,
            peak=peak,
            causes=(*one.causes, _found(at_s, action.cause, action.listener, verdict)),
        )
    if isinstance(action, CauseChanged):
        found = _found(at_s, action.cause, action.listener, verdict)
        # The one told first stays, and the latest.
        causes = (*one.causes, found)
        return replace(one, peak=peak, causes=causes[:1] + causes[1:][1 - _CAUSES_MOST :])
    gone = action.gone if isinstance(action, Clear) else ""
    return replace(one, stage=AlarmStage.QUIET, ended_s=at_s, lasted_s=action.lasted_s, gone=gone, peak=peak)


def _found(at_s: float, cause: str, listener: Subject, verdict: Verdict | None) -> CauseFound:
    """The cause with its evidence: of the finding at that listener, else of the namespace's."""
    alike = [f for f in verdict.findings if f.id == cause] if verdict is not None else []
    own = [f for f in alike if f.listener is not None and f.listener.key == listener]
    others = alike if listener in (None, CONNECTIONS) else [f for f in alike if f.listener is None]
    finding = next(iter((*own, *others)), None)
    if finding is None:
        return CauseFound(at_s, cause)
    return CauseFound(at_s, cause, finding.level.name.lower(), finding.facts)


def _with_reading(one: Incident, model: Model, before: _Before | None) -> Incident:
    """The incident with the peak and the drops of a reading."""
    more, counters = 0, model.sample.counters
    if one.listener is None:
        waiting, fill = model.half_open - model.may_have_answered, None
        if before is not None:
            more = max(0, counters.get("ListenDrops", 0) - before.counters.get("ListenDrops", 0))
    else:
        view = _view(model.views, one.listener)
        if view is None:
            return one
        waiting, fill = view.half_open - view.may_have_answered, view.fill
        if before is not None:
            more = turned_away(model.views, before.views, counters, before.counters).get(view.key, 0)
    seconds = 0.0 if before is None else model.sample.monotonic_s - before.at_s
    peak = one.peak.with_more(max(0, waiting), fill, more / seconds if seconds > 0 else 0.0)
    return replace(one, peak=peak, turned_away=one.turned_away + more)


def _view(views: tuple[ListenerView, ...], key: Subject) -> ListenerView | None:
    return next((view for view in views if view.key == key), None)


def _with_release(one: Incident, outcome: Released, at_s: float) -> Incident:
    words = outcome.action.filter.describe()
    by_filter = {made.filter: made for made in one.releases}
    made = by_filter.get(words) or ReleasesMade(words, "", 0, at_s, at_s)
    by_filter[words] = made.with_more(outcome, at_s)
    return replace(one, releases=tuple(by_filter.values())[-_RELEASES_MOST:])
