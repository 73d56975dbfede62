"""Minutes and hours are made of seconds, and what is old goes."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.history import HALF_OPEN, Retention, Tier, ValueSeen
from halfopen.store import schema, tiers
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace
from halfopen.store.reader import History
from halfopen.store.writer import Writer
from history_made import ALL, T0, incident, seconds, write
from rows import SELF

# --- seconds, minutes, hours ------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 7300), st.integers(0, 10**6)), min_size=1, max_size=60))
@examples(40)
def test_minutes_and_hours_are_those_of_the_seconds(readings: list[tuple[int, int]]) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db)
    readings.sort(key=lambda one: one[0])
    rows = write(db, *(HistoryBatch(T0 + at, seconds(value, at=T0 + at)) for at, value in readings))
    for minute in rows.minutes:
        tiers.roll_up(db, Tier.MINUTES, minute)
    for hour in {minute // 60 for minute in rows.minutes}:
        tiers.roll_up(db, Tier.HOURS, hour)
        tiers.roll_up(db, Tier.HOURS, hour)  # to do it twice does no harm
    for tier in (Tier.MINUTES, Tier.HOURS):
        expected: dict[int, list[int]] = {}
        for at, value in readings:
            expected.setdefault((T0 + at) // tier.step_s * tier.step_s, []).append(value)
        made = {schema.parts_of(id)[0]: rest for id, *rest in db.execute(f"SELECT * FROM {tier.value}")}
        assert made == {at: [min(v), max(v), sum(v), v[-1], len(v)] for at, v in expected.items()}
    db.close()


def test_a_writer_has_a_bounded_number_of_statements(db: sqlite3.Connection) -> None:
    said: set[str] = set()

    class Heard:
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            said.add(statement)
            return db.execute(statement, *values)

    for minute in range(60):
        tiers.roll_up(cast(sqlite3.Connection, Heard()), Tier.MINUTES, T0 // 60 + minute)
    # Each text is prepared once, and kept.
    assert len(said) == 1


def test_what_a_writer_left_unmade_is_made_by_the_next(place: HistoryPlace, db: sqlite3.Connection) -> None:
    write(db, HistoryBatch(T0 + 200, seconds(1, 2, 3) + seconds(9, at=T0 + 130)))
    assert tiers.not_rolled_up(db, Tier.MINUTES) == {T0 // 60, T0 // 60 + 2}
    tiers.roll_up(db, Tier.MINUTES, T0 // 60)
    assert tiers.not_rolled_up(db, Tier.MINUTES) == {T0 // 60, T0 // 60 + 2}
    assert tiers.not_rolled_up(db, Tier.HOURS) == {T0 // 3600}
    db.close()
    assert Writer(place, Retention()).close() is None
    with History(place) as kept:
        [hours] = kept.series(ALL, Tier.HOURS)
        assert [(s.max, s.sum, s.count) for s in hours.slots] == [(9, 15, 4)]


def test_what_is_old_goes_in_slices_and_the_rest_stays(db: sqlite3.Connection) -> None:
    values = [ValueSeen(SELF, None, HALF_OPEN, float(T0 + at), 1) for at in range(tiers.SLICE + 100)]
    old, young = incident("a-000001", T0), incident("b-000002", T0 + 3 * 86400)
    write(db, HistoryBatch(T0, values, {old.id: old, young.id: young}))
    keep = Retention(seconds_s=86400, hours_s=2 * 86400)
    count = lambda: db.execute("SELECT count(*) FROM seconds").fetchone()[0]  # noqa: E731
    assert not tiers.expire(db, T0 + 86400, keep)
    assert count() == len(values)
    assert tiers.expire(db, T0 + 86400 * 2, keep)
    assert count() == 100
    assert not tiers.expire(db, T0 + 86400 * 3, keep)
    assert (count(), db.execute("SELECT id FROM incidents").fetchall()) == (0, [("b-000002",)])


@given(st.integers(0, 2**33), st.integers(0, schema.PLACES_MOST - 1), st.integers(0, 7))
def test_an_id_is_a_time_a_place_and_a_magnitude(at_s: int, place: int, magnitude: int) -> None:
    id = schema.value_id(at_s, place, magnitude)
    assert id < 2**63
    assert schema.parts_of(id) == (at_s, place, magnitude)


# --- files that are not as they should be -----------------------------------------------------------------------------


def test_a_clock_that_is_set_back_by_an_hour_costs_nothing(place: HistoryPlace, db: sqlite3.Connection) -> None:
    one = incident("x-000001", T0 + 3)
    before = HistoryBatch(T0 + 9, seconds(1, 2, 3, at=T0), watched=frozenset({SELF}))
    after = HistoryBatch(T0 - 3590, seconds(4, 5, at=T0 - 3600) + seconds(9, at=T0 + 1), {one.id: one})
    rows = write(db, before, after)
    for minute in rows.minutes:
        tiers.roll_up(db, Tier.MINUTES, minute)
    with History(place) as kept:
        [series] = kept.series(ALL, Tier.SECONDS)
        assert [(s.at_s - T0, s.min, s.max, s.count) for s in series.slots] == [
            (-3600, 4, 4, 1), (-3599, 5, 5, 1), (0, 1, 1, 1), (1, 2, 9, 2), (2, 3, 3, 1)
        ]  # fmt: skip
        assert kept.incidents(ALL) == [one]
        assert [s.sum for s in kept.series(ALL, Tier.MINUTES)[0].slots] == [9, 15]
