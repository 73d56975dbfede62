"""What is written to the history comes back, and of it what is asked for."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest

from halfopen.core.errors import HistoryError, UnknownTarget, UsageError
from halfopen.core.history import DROPS, HALF_OPEN, ReleaseSeen, SettingChanged, Tier, ValueSeen
from halfopen.core.where import Namespace
from halfopen.store import schema, tiers
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace
from halfopen.store.reader import History, HistoryWanted
from history_made import ALL, OTHER, T0, WEB, incident, seconds, write
from rows import SELF

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


@pytest.mark.parametrize(
    "document", ["", "null", "[1]", '"x"', "{", '{"a":' * 100_000, None], ids=lambda it: str(it)[:9]
)
def test_a_document_that_is_damaged_is_an_error_of_ours(
    place: HistoryPlace, db: sqlite3.Connection, document: str | None
) -> None:
    release = ReleaseSeen(SELF, T0, "all", "why", {"released": 3}, ("one",), "")
    write(db, HistoryBatch(T0 + 1, incidents={"one": incident("one", T0)}, releases=[release]))
    for table in ("incidents", "releases"):
        with contextlib.suppress(sqlite3.IntegrityError):  # NULL is refused there
            db.execute(f"UPDATE {table} SET document = ?", (document,))
            with History(place) as kept, pytest.raises(HistoryError, match="is damaged"):
                kept.incidents(ALL) if table == "incidents" else kept.releases(ALL)


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
            with pytest.raises(UnknownTarget, match="there is no incident") as told:
                kept.incident(id)
            # The file may be another than the one that is read without --file.
            assert f"--file {place.file} lists" in str(told.value.hint)


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
