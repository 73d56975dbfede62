"""Files of history that are old, damaged or somebody else's: nobody's file is harmed, and whose it is stays so."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.history import ReleaseSeen, Retention
from halfopen.store import schema
from halfopen.store.batch import HistoryBatch
from halfopen.store.database import HistoryPlace, move_aside, open_to_read, open_to_write, prepare
from halfopen.store.reader import History
from halfopen.store.writer import Writer
from history_made import ALL, T0, seconds, write
from rows import SELF


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
        (b"not a database at all" * 20, "is not an SQLite file; it was left as it is"),
        (b"short", "is not an SQLite file"),
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
