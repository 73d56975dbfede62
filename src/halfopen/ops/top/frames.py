"""The frames of a replay: a flight record as the screen would have shown it, reading by reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from halfopen.core.flight import FlightEntry, FlightReleased, FlightTold, FlightWithheld, ReplayedReading
from halfopen.core.live import Live
from halfopen.core.model.model import Model
from halfopen.core.policy.alarms import Alarm, Clear, Passed, Rising, Telling
from halfopen.core.policy.incidents import Incident, Incidents
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.reports import Reading, Round
from halfopen.ops.replay import played
from halfopen.ops.top.kept import KeptLive
from halfopen.present.language import spoken
from halfopen.present.watchlines import TextLines

# The usual time between two readings of a watch, for the head of the screen: a record does not hold it.
_INTERVAL_S = 1.0


class Frame(Struct, frozen=True, eq=False):
    """What a reading showed. told: the lines about what was told and done on it. before: the Model it was judged
    against. whole: nothing of the reading was left out of the record, and today's rules find the same as those of then.
    """

    live: Live
    model: Model
    before: Model | None
    whole: bool
    told: tuple[str, ...] = ()

    @property
    def at_s(self) -> float:
        """When it was read, by the monotonic clock of that machine."""
        return self.model.sample.monotonic_s

    @property
    def wall_s(self) -> float:
        """When it was read, in seconds since 1970."""
        return self.model.sample.wall_s


class _Group(Struct):
    """A reading with the entries that follow it in the record."""

    reading: ReplayedReading
    before: Model | None
    others: list[FlightTold | FlightReleased | FlightWithheld] = field(default_factory=list)


def frames(entries: Sequence[FlightEntry], top: int = 10) -> Iterator[Frame]:
    """The frames of a record, in order. A glance between two readings gets no frame; the next reading is
    compared with it.
    """
    kept, incidents, stages = KeptLive(_INTERVAL_S), Incidents(), dict[str, AlarmStage]()
    for group in _groups(entries, top):
        frame = _frame(group, kept, incidents, stages)
        if not group.reading.glance:
            yield frame


def _groups(entries: Sequence[FlightEntry], top: int) -> Iterator[_Group]:
    group: _Group | None = None
    for entry in played(entries, top=top):
        if isinstance(entry, ReplayedReading):
            before = None if group is None else group.reading.model.bare()
            if group is not None:
                yield group
            group = _Group(entry, before)
        elif group is not None and isinstance(entry, FlightTold | FlightReleased | FlightWithheld):
            group.others.append(entry)
    if group is not None:
        yield group


def _frame(group: _Group, kept: KeptLive, incidents: Incidents, stages: dict[str, AlarmStage]) -> Frame:
    """Put a reading together as the loop of `watch` does."""
    reading, where = group.reading, group.reading.model.sample.where
    for entry in group.others:
        if isinstance(entry, FlightTold):
            incidents.told(reading.model, entry.telling, reading.verdict)
            _stage(stages, entry.telling)
    on: tuple[Incident, ...] = incidents.seen(reading.model, stages)
    for entry in group.others:
        if isinstance(entry, FlightReleased):
            incidents.did(entry.outcome, entry.wall_s)
    kept.take(Reading(reading.model, reading.verdict, 0.0, on))
    kept.take(Round(frozenset({where}), frozenset()))
    whole = reading.again and not reading.left_out
    return Frame(kept.live, reading.model, group.before, whole, tuple(_lines(group)))


def _stage(stages: dict[str, AlarmStage], telling: Telling) -> None:
    if isinstance(telling, Rising):
        stages[telling.incident] = AlarmStage.RISING
    elif isinstance(telling, Alarm):
        stages[telling.incident] = AlarmStage.INCIDENT
    elif isinstance(telling, Passed | Clear):
        stages.pop(telling.incident, None)


def _lines(group: _Group) -> Iterator[str]:
    """The lines that `watch` printed for what was told and done."""
    writer, model = TextLines(False), group.reading.model
    with spoken():
        for entry in group.others:
            if isinstance(entry, FlightTold):
                yield from writer.told(model, entry.telling, group.reading.verdict)
            elif isinstance(entry, FlightReleased):
                yield from writer.released(entry.outcome, entry.wall_s)
            else:
                yield from writer.withheld(model, entry.action)
