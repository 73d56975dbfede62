"""The journal's file: private, locked, never through a link, cut where it was torn, begun anew when it is long."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from halfopen.change import journal_file as act
from halfopen.change.journal_file import Journal
from halfopen.core.errors import HalfopenError, JournalError
from halfopen.core.tune.records import Began, Then
from halfopen.core.tune.spots import Place
from halfopen.linux import state

PLACE = Place("boot", 7, 1, "/run/netns/web", "web")


def began(id: int) -> Began:
    return Began(id, 0.0, {}, PLACE, "net.core.somaxconn", 5, 6)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "a" / "b"))


def test_it_is_made_private_and_only_when_written(journal: Journal) -> None:
    assert journal.look().changes == {}
    assert not os.path.exists(journal.directory)
    with journal.locked():
        journal.append([began(1)])
    assert os.stat(journal.path).st_mode & 0o777 == 0o600
    assert os.stat(journal.directory).st_mode & 0o777 == 0o700
    assert [c.state for c in journal.look().changes.values()] == ["begun"]


def test_a_torn_line_is_cut_off_by_the_next_writer(journal: Journal) -> None:
    with journal.locked():
        journal.append([began(1)])
    with open(journal.path, "ab") as f:
        f.write(b'{"event":"then","id":1')
    assert journal.look().next_id == 2
    with journal.locked():
        journal.append([Then(1, 0.0, "done", 6)])
    assert journal.look().changes[1].state == "done"


def test_a_record_that_cannot_follow_does_not_reach_the_file(journal: Journal) -> None:
    with journal.locked():
        journal.append([began(1)])
        before = Path(journal.path).read_bytes()
        with pytest.raises(JournalError):
            journal.append([began(2), Then(1, 0.0, "undoing")])
        assert Path(journal.path).read_bytes() == before
        assert list(journal.ledger.changes) == [1]


def test_a_link_or_a_pipe_in_its_place_is_not_followed(journal: Journal, tmp_path: Path) -> None:
    os.makedirs(journal.directory)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"")
    os.symlink(elsewhere, journal.path)
    with pytest.raises(HalfopenError), journal.locked():
        pass
    os.unlink(journal.path)
    os.mkfifo(journal.path, 0o600)
    with pytest.raises(JournalError, match="not a regular file"), journal.locked():
        pass
    with pytest.raises(JournalError, match="not a regular file"):
        journal.look()


def test_whoever_waits_too_long_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.locked():
        pass
    monkeypatch.setattr(act, "_WAIT_S", 0.05)
    with open(journal.path, "rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(JournalError, match="another halfopen tune"), journal.locked():
            pass


def test_a_long_one_begins_anew_once_nothing_is_in_force(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(act, "_ROTATE_BYTES", 1)
    with journal.locked():
        journal.append([began(1), Then(1, 0.0, "refused"), began(2)])
    with journal.locked():
        assert journal.ledger.next_id == 3  # one is open: nothing goes
        assert len(journal.ledger.changes) == 2
        journal.append([Then(2, 0.0, "refused")])
    with journal.locked():
        assert list(journal.ledger.changes) == [2]
        journal.append([began(3)])
    assert list(journal.look().changes) == [2, 3]
    kept = Journal(journal.directory)
    kept.path += ".1"
    assert list(kept.look().changes) == [1, 2]
    assert os.stat(journal.path).st_mode & 0o777 == 0o600


def test_one_that_is_too_large_is_not_read(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    with journal.locked():
        journal.append([began(1)])
    monkeypatch.setattr(act, "MAX_BYTES", 8)
    with pytest.raises(JournalError, match="too large"):
        journal.look()


def test_an_existing_journal_is_not_to_be_left_for_another(journal: Journal) -> None:
    """What is in force could not be undone from there."""
    with journal.locked():
        journal.append([began(1)])
    os.chmod(journal.path, 0o622)
    with pytest.raises(JournalError, match="could be written by others") as raised:
        journal.look()
    assert raised.value.hint == f"look at it, then: chmod go-w {journal.path}"
    new = Journal(f"{journal.path}/below")
    with pytest.raises(JournalError, match="not a directory") as raised, new.locked():
        pass
    assert state.ENVIRONMENT in raised.value.hint
