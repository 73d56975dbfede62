"""The sink of a watch that keeps history: the values of each reading, passed to the writer once a round."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError, HistoryError, UsageError
from halfopen.core.fields.released import released
from halfopen.core.flight import FlightEntry, FlightReleased, FlightTold, FlightWithheld, flight_reading
from halfopen.core.history import (
    ACCEPT_QUEUE,
    COOKIES,
    DROPS,
    FINISHED,
    HALF_OPEN,
    IN_CLOSE_WAIT,
    IN_TIME_WAIT,
    ReleaseSeen,
    Retention,
    SettingChanged,
    ValueSeen,
)
from halfopen.core.model.model import Model
from halfopen.core.model.turned_away import turned_away
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.taking_up import unfinished
from halfopen.core.reports import (
    Begun,
    Decided,
    Did,
    Ended,
    Glance,
    Noticed,
    Reading,
    Reloaded,
    Report,
    Round,
    TakenUp,
    Trouble,
)
from halfopen.core.sample.closing import CLOSE_WAIT, TIME_WAIT, SocketCounts
from halfopen.core.units import duration_s
from halfopen.core.where import ListenerKey, Namespace
from halfopen.linux import privileges
from halfopen.ops.watch.flights import Flights
from halfopen.store import flights
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace, move_aside, prepare
from halfopen.store.reader import History
from halfopen.store.writer import Writer

# Only the fullest listeners of a reading are written, so that the size is bounded.
LISTENERS_MOST: Final = 256
_COUNTERS: Final = ((DROPS, "ListenDrops"), (COOKIES, "SyncookiesSent"), (FINISHED, "PassiveOpens"))
_DAY_S: Final = 86400.0
_SWEEP_S: Final = 3600.0


def make(path: str, keep: str | None, version: str, *, anew: bool = False) -> HistorySink:
    """The sink for a FILE or DIRectory. keep: how long, as a duration. anew: a file that is damaged is moved aside.

    Raises: UsageError, HalfopenError "history", NotPermitted.
    """
    kept = Retention()
    if keep is not None:
        seconds = duration_s(keep, what="--history-keep")
        if not _DAY_S <= seconds <= 3650 * _DAY_S:
            raise UsageError(f"--history-keep {keep} is out of range", hint="give 1d to 3650d")
        kept = Retention(hours_s=seconds)
    place, group = HistoryPlace.of(path), privileges.members()
    prepare(place, group)
    try:
        writer = Writer(place, kept, version, group=group)
    except HistoryError as e:
        if not (anew and "damaged" in e.message):
            raise
        move_aside(place, time.strftime("damaged-%Y%m%dT%H%M%SZ", time.gmtime()))
        writer = Writer(place, kept, version, group=group)
    return HistorySink(writer, kept, version, group)


def earlier(path: str) -> dict[Namespace, tuple[Incident, ...]]:
    """The incidents to take up from a history at a FILE or DIRectory: those whose end an earlier watch did not see.
    Empty if the history cannot be read.
    """
    try:
        with History(HistoryPlace.of(path)) as history:
            return unfinished(history.unfinished(), time.time())
    except HalfopenError:
        return {}


class _Kept(Struct):
    """The last reading of a namespace, and its values that were not 0."""

    at_s: float
    model: Model
    on: dict[tuple[Subject, int], int] = field(default_factory=dict)


class HistorySink:
    """Takes the reports of a watch; a trouble of the writer is returned once, when it begins."""

    def __init__(self, writer: Writer, kept: Retention, version: str = "", group: int | None = None) -> None:
        self._writer, self._kept, self._group = writer, kept, group
        self._flights = Flights(self._record, version)
        self._swept_s = 0.0
        self._batch = HistoryBatch()
        self._of: dict[Namespace, _Kept] = {}

    def take(self, event: Report) -> Trouble | None:
        """Take in a report."""
        match event:
            case Begun() | Reloaded():
                self._flights.watched = event.policy.watched.arguments()
            case Reading():
                self._reading(event)
                one = flight_reading(event.model, event.verdict, event.calm)
                on = [incident for incident in event.incidents if not incident.about_connections]
                self._flights.reading(event.model.sample.where, one, on)
            case Glance():
                one = flight_reading(event.model, event.verdict, event.calm, glance=True)
                self._flights.reading(event.model.sample.where, one, ())
            case TakenUp():
                for incident in event.incidents:
                    self._flights.incident(incident, event.model.sample.monotonic_s)
            case Decided():
                self._decided(event)
            case Did():
                self._did(event)
            case Noticed():
                self._flights.told(event.action.release.where, FlightWithheld(event.action))
            case Round():
                self._of = {where: kept for where, kept in self._of.items() if where in event.watched}
                self._batch.watched = event.watched - event.troubled
                self._batch.at_s = time.time()
                self._writer.hand(self._batch)
                self._flights.round(event.watched)
                self._sweep(self._batch.at_s)
                self._batch = HistoryBatch()
                return self._told(self._writer.trouble())
            case Ended():
                if self._batch.incidents or self._batch.values:
                    self._batch.at_s = time.time()
                    self._writer.hand(self._batch)
                return self._told(self._writer.close())
        return None

    def _told(self, error: HalfopenError | None) -> Trouble | None:
        return None if error is None else Trouble("history", error)

    def _record(self, incidents: Sequence[str], entries: Sequence[FlightEntry]) -> None:
        """Append entries to the records of incidents, in the writer's thread."""
        paths = [flights.path_of(self._writer.place.flights, id) for id in incidents]
        self._writer.do(partial(flights.append, paths, entries, self._group))

    def _sweep(self, now_s: float) -> None:
        """Now and then, remove old records."""
        if abs(now_s - self._swept_s) >= _SWEEP_S:
            self._swept_s = now_s
            self._writer.do(partial(flights.sweep, self._writer.place.flights, now_s - self._kept.hours_s))

    def _decided(self, event: Decided) -> None:
        one, sample = event.incident, event.model.sample
        if one is not None:
            self._batch.incidents[one.id] = one
            if one.about_connections:
                return  # readings do not show connections, so there is no record
        self._flights.told(sample.where, FlightTold(sample.wall_s, event.action))
        if one is not None:
            self._flights.incident(one, sample.monotonic_s)

    def _did(self, event: Did) -> None:
        outcome, now = event.outcome, time.time()
        self._batch.incidents.update((one.id, one) for one in event.incidents)
        action = outcome.action
        seen = ReleaseSeen(
            action.where,
            now,
            action.filter.describe(),
            action.reason,
            released(outcome),
            action.incidents,
            action.policy,
        )
        self._batch.releases.append(seen)
        self._flights.told(action.where, FlightReleased(now, outcome))

    def _reading(self, event: Reading) -> None:
        model = event.model
        where, at_s = model.sample.where, model.sample.wall_s
        self._batch.incidents.update((one.id, one) for one in event.incidents)
        before = self._of.get(where)
        values = values_of(model, None if before is None else before.model)
        on = {key: value for key, value in values.items() if value}
        was = {} if before is None else before.on
        for (listener, magnitude), value in on.items():
            if before is not None and (listener, magnitude) not in was:
                # Write the 0 before, so that a chart rises at the right time.
                self._batch.values.append(ValueSeen(where, listener, magnitude, before.at_s, 0))
            self._batch.values.append(ValueSeen(where, listener, magnitude, at_s, value))
        for listener, magnitude in was.keys() - on.keys():
            self._batch.values.append(ValueSeen(where, listener, magnitude, at_s, 0))
        if before is not None:
            self._settings(where, at_s, before.model, model)
        self._of[where] = _Kept(at_s, model.bare(), on)

    def _settings(self, where: Namespace, at_s: float, before: Model, now: Model) -> None:
        old, new = before.sample.settings, now.sample.settings
        if old == new:
            return
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                changed = SettingChanged(where, at_s, name, old.get(name), new.get(name))
                self._batch.settings.append(changed)


def values_of(now: Model, before: Model | None) -> dict[tuple[Subject, int], int]:
    """The values of a reading by listener (None: of the namespace) and magnitude: all that are not 0, and some that
    are. before: the last reading.
    """
    found: dict[tuple[Subject, int], int] = {(None, HALF_OPEN): now.half_open}
    for count, view in enumerate(now.listeners):
        # The fullest come first.
        if not (view.half_open or view.accept_queue):
            break
        if view.accept_queue:
            found[None, ACCEPT_QUEUE] = found.get((None, ACCEPT_QUEUE), 0) + view.accept_queue
        if count < LISTENERS_MOST:
            found[view.key, HALF_OPEN] = view.half_open
            found[view.key, ACCEPT_QUEUE] = view.accept_queue
    if (sockets := now.sample.part(SocketCounts)) is not None:
        found |= {(None, IN_CLOSE_WAIT): sockets.of(CLOSE_WAIT), (None, IN_TIME_WAIT): sockets.of(TIME_WAIT)}
    if before is None:
        return found
    counters, old = now.sample.counters, before.sample.counters
    for magnitude, name in _COUNTERS:
        found[None, magnitude] = max(0, counters.get(name, 0) - old.get(name, counters.get(name, 0)))
    if found[None, DROPS] and now.views is not before.views:
        found.update(_drops(turned_away(now.views, before.views, counters, old)))
    return found


def _drops(away: Mapping[ListenerKey, int]) -> dict[tuple[Subject, int], int]:
    """How many clients each listener turned away since the last reading, for the listeners with the most."""
    most = sorted(away.items(), key=lambda one: -one[1])[:LISTENERS_MOST]
    return {(key, DROPS): n for key, n in most}
