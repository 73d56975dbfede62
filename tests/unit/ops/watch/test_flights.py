"""Which readings are recorded, and that a replay builds and judges them as they were built and judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.flight import (
    REQUESTS_MOST,
    FlightEntry,
    FlightHead,
    FlightReading,
    FlightTold,
    ReplayedReading,
    flight_reading,
)
from halfopen.core.model.columns import columns_of
from halfopen.core.model.model import Model, build
from halfopen.core.policy.alarms import Rising
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.sample import QUEUES, Sample
from halfopen.ops.replay import played
from halfopen.ops.watch import flights
from halfopen.ops.watch.flights import Flights
from halfopen.wire import flight
from rows import SELF, listener, request, sample

T0 = 1000.0


def idle(at_s: float, drops: int = 0) -> FlightReading:
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"] = True
    rows = [listener(drops=drops)]
    read = sample([], rows, depths=True, queues=queues, monotonic_s=T0 + at_s, wall_s=1e9 + at_s)
    return flight_reading(build(read), None, None)


class Kept:
    """What was handed on, by incident."""

    def __init__(self) -> None:
        self.entries: dict[str, list[FlightEntry]] = {}

    def append(self, incidents: Sequence[str], entries: Sequence[FlightEntry]) -> None:
        for id in incidents:
            self.entries.setdefault(id, []).extend(entries)

    def seconds(self, id: str) -> list[int]:
        return [round(e.at_s - T0) for e in self.entries[id] if isinstance(e, FlightReading)]


def incident(id: str, began: int, *, alarm: bool = True, over: bool = False, at: int = 0) -> Incident:
    stage = AlarmStage.QUIET if over else AlarmStage.INCIDENT if alarm else AlarmStage.RISING
    alarm_s = 1e9 + began if alarm else None
    return Incident(id, SELF, None, 1e9 + began, stage, alarm_s=alarm_s, lasted_s=float(at - began))


def run(alarms: dict[str, tuple[int, int]], seconds: int, rising: int = 0) -> Kept:
    """Readings a second; of each incident when its alarm is raised and when it ends, after it rose for so long."""
    kept = Kept()
    made = Flights(kept.append)
    for at in range(seconds):
        there = {id: a for id, (a, end) in alarms.items() if a - rising <= at < end}
        on = [incident(id, a - rising, alarm=at >= a, at=at) for id, a in there.items()]
        made.reading(SELF, idle(at), on)
        for id, (a, end) in alarms.items():
            if at in (a, end):
                made.told(SELF, FlightTold(1e9 + at, Rising(SELF, None, 0, incident=id)))
                made.incident(incident(id, a, over=at == end, at=at), T0 + at)
        made.round({SELF})
    return kept


def test_a_record_reaches_from_a_minute_before_to_a_minute_after() -> None:
    kept = run({"a": (100, 110)}, 300)
    assert kept.seconds("a") == list(range(40, 171))
    assert isinstance(kept.entries["a"][0], FlightHead)
    assert sum(isinstance(e, FlightTold) for e in kept.entries["a"]) == 2


def test_what_rose_for_long_is_there_from_a_minute_before_that() -> None:
    assert run({"a": (200, 210)}, 280, rising=100).seconds("a") == list(range(40, 271))


def test_two_incidents_have_a_record_each() -> None:
    kept = run({"a": (100, 110), "b": (105, 140)}, 300)
    assert kept.seconds("a") == list(range(40, 171))
    assert kept.seconds("b") == list(range(45, 201))


def test_of_a_long_incident_one_reading_in_ten_seconds_is_kept() -> None:
    seconds = run({"a": (100, 1000)}, 1200).seconds("a")
    assert seconds[:361] == list(range(40, 401))
    middle = [s for s in seconds if 401 <= s < 992]
    assert set(np.diff(middle).tolist()) == {10}
    assert seconds[-61:] == list(range(1000, 1061))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Flights(Kept().append)
    for at in range(200):
        made.reading(SELF, idle(at), ())
    held = made._of[SELF].entries
    assert len(held) == 61
    monkeypatch.setattr(flights, "HELD_BYTES_MOST", 200_000)
    for at in range(200, 300):
        made.reading(SELF, idle(at, drops=at), ())
    assert made._bytes <= 200_000 + 20_000
    assert len(held) < 15
    made.round(())
    assert (made._of, made._bytes) == ({}, 0)


def test_of_very_many_requests_the_findings_are_kept_and_the_depths_tell() -> None:
    count = REQUESTS_MOST + 1
    rows = np.repeat(request(retransmits=3, expires_ms=4000), count)
    rows["remote_v4"], rows["cookie"] = np.arange(count) + 0xC6120000, np.arange(count) + 1
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"], queues["qlen"] = True, count
    read = sample([rows], [listener(limit=20_000)], queues=queues)
    model = build(read)
    verdict = judge(model)
    one = flight_reading(model, verdict, None)
    assert (one.columns, one.left_out) == (None, ("requests",))
    assert len(flight.encode(one)) < 4096
    [again] = played([one])
    assert isinstance(again, ReplayedReading)
    assert (again.model.half_open, again.again) == (count, False)
    assert again.verdict is not None
    assert [(f.id, f.facts) for f in again.verdict.findings] == [(f.id, f.facts) for f in verdict.findings]


def live(seconds: int) -> list[tuple[Model, Verdict, Sample]]:
    """Readings as the loop of watch makes them: built against the one before, judged against its Model."""
    found: list[tuple[Model, Verdict, Sample]] = []
    for at in range(seconds):
        rows = np.repeat(request(retransmits=3, expires_ms=4000), 50 * at)
        rows["remote_v4"], rows["cookie"] = np.arange(50 * at) + 0xC6120000, np.arange(50 * at) + 1
        read = sample(
            [rows] if at else [],
            [listener(limit=4096)],
            monotonic_s=T0 + at,
            counters={"PassiveOpens": 7 * at, "ListenDrops": at * at},
        )
        before = found[-1] if found else None
        model = build(read, None if before is None else before[2].bare(), columns=columns_of(read))
        found.append((model, judge(model, None if before is None else before[0].bare()), read))
    return found


def test_a_replay_is_what_was_seen() -> None:
    readings = live(12)
    record = [flight_reading(model, verdict, None) for model, verdict, _ in readings]
    data = flight.MAGIC + b"".join(map(flight.encode, record))
    again = [one for one in played(list(flight.decode(data))) if isinstance(one, ReplayedReading)]
    assert all(one.again for one in again)
    assert [one.verdict for one in again] == [verdict for _, verdict, _ in readings]
    assert [one.model.listeners for one in again] == [model.listeners for model, *_ in readings]
    assert [one.model.sources for one in again] == [model.sources for model, *_ in readings]
    assert [one.model.rates for one in again] == [model.rates for model, *_ in readings]
    assert len({f.id for one in again if one.verdict for f in one.verdict.findings}) > 1


def test_a_verdict_that_other_rules_would_give_is_that_of_then() -> None:
    [*_, (model, verdict, _)] = live(9)
    one = flight_reading(model, verdict, None)
    assert one.findings
    other = replace(one, findings=(replace(one.findings[0], id="slow-path"),))
    [again] = played([other])
    assert isinstance(again, ReplayedReading)
    assert not again.again
    assert again.verdict is not None
    assert [f.id for f in again.verdict.findings] == ["slow-path"]
