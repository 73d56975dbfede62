"""The writer's thread: what it is handed is written, and a disk that is full or busy ends no watch."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from halfopen.core.history import HALF_OPEN, Retention, Tier, ValueSeen
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.database import HistoryPlace, open_to_write
from halfopen.store.reader import History
from halfopen.store.writer import REMEMBERED, Writer
from history_made import ALL, T0, incident, seconds
from rows import SELF


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
