"""The history file: what is written comes back, minutes and hours are made of seconds, and nobody's file is harmed."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.errors import HalfopenError, UnknownTarget, UsageError
from halfopen.core.findings.finding import Fact
from halfopen.core.history import DROPS, HALF_OPEN, ReleaseSeen, Retention, SettingChanged, Tier, ValueSeen
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import CauseFound, Incident, Peak, ReleasesMade
from halfopen.core.policy.stages import AlarmStage
from halfopen.core.where import Namespace
from halfopen.store import schema, tiers
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.database import HistoryPlace, move_aside, open_to_read, open_to_write, prepare
from halfopen.store.reader import History, HistoryWanted
from halfopen.store.writer import REMEMBERED, Writer
from rows import SELF

WEB: Subject = (2, "0.0.0.0", 443, 0)
OTHER: Subject = (10, "2001:db8::1", 80, 3)
ALL = HistoryWanted(0, 2e9)
# A minute and an hour begin.
T0 = 1_700_002_800


def incident(id: str, began_s: float, *, over: bool = True, listener: Subject = WEB) -> Incident:
    return Incident(
        id,
        SELF,
        listener,
        began_s,
        AlarmStage.QUIET if over else AlarmStage.INCIDENT,
        "unanswered",
        began_s + 1,
        began_s + 20 if over else None,
        20.0,
        "",
        500,
        900,
        7,
        Peak(3000, 0.75, 12.5),
        (
            CauseFound(
                began_s + 1, "spoofed-flood", "critical", (Fact("half_open", 3000), Fact("prefix", "10.0.0.0/8"))
            ),
        ),
        (ReleasesMade("older than 3 s", "why", 2, began_s + 2, began_s + 3, 9, 8, 1),),
    )


@pytest.fixture
def place(tmp_path: Path) -> HistoryPlace:
    found = HistoryPlace.of(f"{tmp_path}/h/")
    prepare(found, None)
    return found


@pytest.fixture
def db(place: HistoryPlace) -> Iterator[sqlite3.Connection]:
    opened = open_to_write(place)
    yield opened
    opened.close()


def seconds(*values: int, at: int = T0, listener: Subject = None, magnitude: int = HALF_OPEN) -> list[ValueSeen]:
    return [ValueSeen(SELF, listener, magnitude, at + i + 0.4, value) for i, value in enumerate(values)]


def write(db: sqlite3.Connection, *batches: HistoryBatch) -> RowWriter:
    rows = RowWriter(db, "1.0", T0)
    for batch in batches:
        db.execute("BEGIN IMMEDIATE")
        rows.write(batch)
        db.execute("COMMIT")
    return rows


# --- what is written comes back ---------------------------------------------------------------------------------------


def test_everything_comes_back_as_it_was(place: HistoryPlace, db: sqlite3.Connection) -> None:
    web = Namespace("boot", 9, 4, "we\udcffb", "/run/netns/web", "nginx.service")
    one, two = incident("20231114T230000Z-aaaaaa", T0 + 5), incident("20231114T230001Z-bbbbbb", T0 + 60, over=False)
    release = ReleaseSeen(SELF, T0 + 7.5, "older than 3 s", "why", {"released": 8}, (one.id,), "old-ones")
    changed = SettingChanged(SELF, T0 + 8, "tcp_synack_retries", 5, 2)
    write(
        db,
        HistoryBatch(T0 + 1, seconds(0, 5, 7), watched=frozenset({SELF, web})),
        HistoryBatch(
            T0 + 70, seconds(3, listener=OTHER, magnitude=DROPS), {one.id: one, two.id: two}, [release], [changed]
        ),
        HistoryBatch(T0 + 80, watched=frozenset({SELF})),
        HistoryBatch(T0 + 99),
    )
    with History(place) as kept:
        assert kept.incidents(ALL) == [one, two]
        assert kept.releases(ALL) == [release]
        assert kept.releases(ALL, "another") == []
        assert kept.settings(ALL) == [changed]
        spans = {(s.where, s.began_s, s.ended_s) for s in kept.spans(ALL)}
        assert spans == {(SELF, T0 + 1, T0 + 99), (web, T0 + 1, T0 + 80)}
        assert {s.where.name for s in kept.spans(ALL)} == {"self", "we\\udcffb"}
        found = {
            (s.listener, s.magnitude): [(x.at_s - T0, x.max) for x in s.slots] for s in kept.series(ALL, Tier.SECONDS)
        }
        assert found == {(None, "half_open"): [(0, 0), (1, 5), (2, 7)], (OTHER, "drops"): [(0, 3)]}


def test_what_is_asked_for_alone_is_told(place: HistoryPlace, db: sqlite3.Connection) -> None:
    one, two = incident("20231114T230000Z-aaaaaa", T0), incident("20231114T230000Z-aabbbb", T0 + 100, listener=OTHER)
    write(db, HistoryBatch(T0, seconds(4, listener=WEB) + seconds(6, listener=OTHER), {one.id: one, two.id: two}))
    with History(place) as kept:
        assert kept.incidents(HistoryWanted(T0 + 21, T0 + 99)) == []
        assert kept.incidents(HistoryWanted(T0 + 19, T0 + 99)) == [one]
        assert kept.incidents(HistoryWanted(0, 2e9, listeners=((None, 80),))) == [two]
        assert kept.incidents(HistoryWanted(0, 2e9, listeners=(("2001:db8::2", 80),))) == []
        assert kept.incidents(HistoryWanted(0, 2e9, netns="web")) == []
        assert len(kept.incidents(HistoryWanted(0, 2e9, netns="1"))) == 2
        assert [s.listener for s in kept.series(HistoryWanted(0, 2e9, listeners=((None, 443),)), Tier.SECONDS)] == [WEB]
        assert kept.incident("aaaaaa") == kept.incident(one.id) == one
        with pytest.raises(UsageError, match="part of several ids"):
            kept.incident("20231114")
        for id in ("cccccc", "aa", "%", ""):
            with pytest.raises(UnknownTarget, match="there is no incident"):
                kept.incident(id)


def test_values_of_namespaces_alone(place: HistoryPlace, db: sqlite3.Connection) -> None:
    """Also where the end comes from a finer tier than the one that is asked for."""
    write(db, HistoryBatch(T0, seconds(4, 5) + seconds(6, listener=OTHER), watched=frozenset({SELF})))
    tiers.roll_up(db, Tier.MINUTES, T0 // 60)
    write(db, HistoryBatch(T0 + 70, seconds(9, at=T0 + 70) + seconds(8, at=T0 + 70, listener=OTHER)))
    with History(place) as kept:
        for tier in Tier:
            both = {s.listener: s.slots for s in kept.series(ALL, tier)}
            [alone] = kept.series(ALL, tier, listeners=False)
            assert set(both) == {None, OTHER}
            assert (alone.listener, alone.slots) == (None, both[None])


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


def test_a_reader_has_the_end_that_no_coarser_tier_has_yet(place: HistoryPlace, db: sqlite3.Connection) -> None:
    # Two hours and a quarter: the second quarter of an hour has no minute yet but the first.
    values = [ValueSeen(SELF, None, HALF_OPEN, float(at), at - T0) for at in range(T0, T0 + 8100, 10)]
    rows = write(db, HistoryBatch(T0 + 8100, values, watched=frozenset({SELF})))
    for minute in sorted(rows.minutes)[:125]:
        tiers.roll_up(db, Tier.MINUTES, minute)
    for hour in (T0 // 3600, T0 // 3600 + 1):
        tiers.roll_up(db, Tier.HOURS, hour)
    with History(place) as kept:
        [hours] = kept.series(ALL, Tier.HOURS)
        assert [(s.at_s - T0, s.max, s.count) for s in hours.slots] == [
            (0, 3590, 360),
            (3600, 7190, 360),
            (7200, 8090, 90),
        ]
        [minutes] = kept.series(HistoryWanted(T0 + 7200, T0 + 8100), Tier.MINUTES)
        assert [s.max for s in minutes.slots] == list(range(7250, 8100, 60))
        assert kept.tier(T0, T0 + 8100, 10_000) is Tier.SECONDS
        assert kept.tier(T0, T0 + 8100, 3600) is Tier.MINUTES
        assert kept.tier(T0, T0 + 8100, 60) is Tier.HOURS
    db.execute("DELETE FROM seconds WHERE id < ?", (schema.value_id(T0 + 3600, 0, 0),))
    with History(place) as kept:
        assert kept.tier(T0, T0 + 8100, 10_000) is Tier.MINUTES
        assert kept.tier(T0 + 3600, T0 + 8100, 10_000) is Tier.SECONDS


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


def test_a_disk_that_is_full_at_the_start_ends_no_watch(place: HistoryPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.core.errors import HistoryError
    from halfopen.store import writer as writing

    opens: list[int] = []

    def full_at_first(*given: object) -> sqlite3.Connection:
        opens.append(1)
        if len(opens) < 3:
            raise HistoryError("the history cannot grow", hint="make room", passing=True)
        return open_to_write(place)

    monkeypatch.setattr(writing, "open_to_write", full_at_first)
    one = incident("x-000001", T0)
    writer = Writer(place, Retention(), retry_s=0.05)
    assert writer.trouble() is not None
    writer.hand(HistoryBatch(T0, seconds(5), {one.id: one}))
    deadline = time.monotonic() + 60
    while len(opens) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert writer.close() is None
    with History(place) as kept:
        assert kept.incidents(ALL) == [one]


def test_a_file_of_an_earlier_version_is_brought_up_to_date(place: HistoryPlace) -> None:
    old = sqlite3.connect(place.file)
    old.executescript(schema.MIGRATIONS[0])
    old.execute("INSERT INTO places VALUES (1, 'boot', 1, 0, 0, '', 0, 0, 'self', '', '', 9)")
    old.execute("INSERT INTO releases VALUES (1, ?, 1, 'all', 'why', '', '{}')", (T0,))
    old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()
    with pytest.raises(HalfopenError, match="is of the earlier version 1") as raised:
        History(place)
    assert raised.value.hint == "halfopen watch --history brings it up to date"
    db = open_to_write(place)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    db.close()
    with History(place) as kept:
        assert kept.releases(ALL) == [ReleaseSeen(SELF, T0, "all", "why", {}, (), "")]


def test_the_file_is_for_its_owner_and_group(place: HistoryPlace, db: sqlite3.Connection) -> None:
    assert os.stat(place.file).st_mode & 0o777 == 0o640
    assert os.stat(os.path.dirname(place.file)).st_mode & 0o777 == 0o750
    assert os.stat(place.flights).st_mode & 0o777 == 0o750
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not a database at all" * 20, "is no SQLite file; it was left as it is"),
        (b"short", "is no SQLite file"),
        ("CREATE TABLE t (a); PRAGMA user_version = 3", "is a file of another program"),
        (
            f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 99",
            "is of version 99; this halfopen knows version 2",
        ),
    ],
)
def test_a_file_of_somebody_else_is_refused_and_left(place: HistoryPlace, content: bytes | str, says: str) -> None:
    if isinstance(content, bytes):
        Path(place.file).write_bytes(content)
    else:
        other = sqlite3.connect(place.file)
        other.executescript(content)
        other.close()
    before = Path(place.file).read_bytes()
    for opening in (open_to_write, open_to_read):
        with pytest.raises(HalfopenError) as raised:
            opening(place)
        assert says in raised.value.line()
        assert "\n" not in raised.value.line()
    assert Path(place.file).read_bytes() == before


def test_a_damaged_file_is_said_to_be_and_moved_aside_only_when_asked(place: HistoryPlace) -> None:
    db = open_to_write(place)
    write(db, HistoryBatch(T0, seconds(*range(1, 2000))))
    db.close()
    with open(place.file, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 16384)
    with pytest.raises(HalfopenError, match="is damaged") as raised:
        Writer(place, Retention()).close()
    assert "--history-anew" in raised.value.line()
    assert Path(place.file).exists()
    aside = move_aside(place, "damaged")
    assert Path(aside).exists()
    assert Writer(place, Retention()).close() is None


def test_links_and_directories_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.db").write_bytes(b"")
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    with pytest.raises(HalfopenError, match="symbolic link"):
        prepare(HistoryPlace.of(str(tmp_path / "link.db")), None)
    with pytest.raises(UnknownTarget, match="there is no history at"):
        History(HistoryPlace.of(str(tmp_path / "none.db")))


def test_a_reader_needs_no_writer_and_leaves_nothing(place: HistoryPlace, db: sqlite3.Connection) -> None:
    write(db, HistoryBatch(T0, seconds(5)))
    db.close()
    os.chmod(os.path.dirname(place.file), 0o550)
    with History(place) as kept:
        assert len(kept.series(ALL, Tier.SECONDS)) == 1
    os.chmod(os.path.dirname(place.file), 0o750)
    assert set(os.listdir(os.path.dirname(place.file))) == {"history.db", "incidents"}


def test_readers_never_hold_up_the_writer(place: HistoryPlace, db: sqlite3.Connection) -> None:
    rows = write(db, HistoryBatch(T0, seconds(5)))
    with History(place) as kept:
        kept.series(ALL, Tier.SECONDS)
        db.execute("BEGIN IMMEDIATE")
        rows.write(HistoryBatch(T0 + 1, seconds(6, at=T0 + 1)))
        db.execute("COMMIT")
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        [series] = kept.series(ALL, Tier.SECONDS)
        assert [slot.last for slot in series.slots] == [5, 6]


# --- the writer's thread ----------------------------------------------------------------------------------------------


def test_the_writer_writes_what_it_was_handed_before_it_ends(place: HistoryPlace) -> None:
    writer = Writer(place, Retention())
    one = incident("x-000001", T0)
    for at in range(50):
        writer.hand(HistoryBatch(T0 + at, seconds(at + 1, at=T0 + at), {one.id: one}, watched=frozenset({SELF})))
    assert writer.close() is None
    with History(place) as kept:
        assert len(kept.series(ALL, Tier.SECONDS)[0].slots) == 50
        assert kept.incidents(ALL) == [one]


def test_a_database_that_cannot_be_written_is_told_once_and_incidents_are_remembered(place: HistoryPlace) -> None:
    writer = Writer(place, Retention(), retry_s=0.05)
    blocker = sqlite3.connect(place.file, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    writer._db.execute("PRAGMA busy_timeout = 0")  # type: ignore[union-attr]
    many = {f"x-{n:06}": incident(f"x-{n:06}", T0 + n) for n in range(REMEMBERED + 50)}
    writer.hand(HistoryBatch(T0, seconds(5), many))
    told = []
    for _ in range(400):
        told += [one for one in (writer.trouble(),) if one is not None]
        if told:
            break
        threading.Event().wait(0.02)
    threading.Event().wait(0.3)
    assert writer.trouble() is None
    assert [one.id for one in told] == ["history"]
    blocker.execute("ROLLBACK")
    blocker.close()
    assert writer.close() is None
    with History(place) as kept:
        assert [one.id for one in kept.incidents(ALL)] == list(many)[-REMEMBERED:]
        assert kept.series(ALL, Tier.SECONDS) == []


def test_ids_of_listeners_that_are_gone_are_not_kept(tmp_path: Path) -> None:
    """Listeners come and go for years in a namespace that stays; when they come again they are the same."""
    place = HistoryPlace.of(str(tmp_path / "h.db"))
    db = open_to_write(place)
    rows = RowWriter(db, "", T0)

    def write(hour: int, *ports: int) -> None:
        at_s = T0 + hour * 3600.0
        values = [ValueSeen(SELF, (2, "0.0.0.0", port, 0), HALF_OPEN, at_s, 1) for port in ports]
        rows.write(HistoryBatch(at_s, values, watched=frozenset({SELF})))

    for hour in range(5):
        write(hour, *range(1000 + 10 * hour, 1010 + 10 * hour))
    assert len(rows._places) <= 30
    assert len(rows._seen) <= 30
    write(5, 1000)
    assert db.execute("SELECT count(*) FROM places WHERE port = 1000").fetchone() == (1,)
    db.close()
