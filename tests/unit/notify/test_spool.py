"""The spool: what is in it survives, damage and a full disk are told, and nobody else reads it."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.notify.spool import Spool, SpoolRow


def row(incident: str = "i-1", notice: bytes = b"{}", told: bytes | None = None, sent: int = 0) -> SpoolRow:
    return SpoolRow("chat", incident, 1.5, notice, told, sent)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify" / "spool.db")


def test_what_is_put_in_is_there_after_a_restart(path: str) -> None:
    old = os.umask(0)
    try:
        one = Spool(path)
    finally:
        os.umask(old)
    one.write([row("a"), row("b", told=b"x", sent=3), row("c")], [("chat", "nobody")])
    one.write([row("a", b"new")], [("chat", "c")])
    assert {stat.S_IMODE(os.stat(entry).st_mode) for entry in Path(path).parent.iterdir()} == {0o600}
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    one.close()
    again = Spool(path)
    assert again.rows() == [row("a", b"new"), row("b", told=b"x", sent=3)]
    again.write([row("d")], (), anew=True)
    assert again.rows() == [row("d")]
    again.close()


def test_one_process_has_it(path: str) -> None:
    one = Spool(path)
    with pytest.raises(HalfopenError, match="locked") as e:
        Spool(path)
    assert "another halfopen" in e.value.hint
    one.close()
    Spool(path).close()


def test_it_has_a_bound_and_stays_whole_when_that_is_reached(path: str) -> None:
    one = Spool(path, most_bytes=64 * 1024)

    def fill() -> None:
        for n in range(100):
            one.write([row(f"i-{n}", b"x" * 4000)], ())

    with pytest.raises(HalfopenError, match="full"):
        fill()
    kept = one.rows()
    assert 3 < len(kept) < 20
    one.write([], [("chat", r.incident) for r in kept])
    one.write([row("after")], ())
    assert one.rows() == [row("after")]
    one.close()


@pytest.mark.parametrize("at", [0, 20, 4096, 9000])
def test_a_damaged_file_is_put_aside(path: str, at: int) -> None:
    one = Spool(path)
    one.write([row(f"i-{n}", b"x" * 3000) for n in range(20)], ())
    one.close()
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(os.urandom(4000))
    again = Spool(path)
    assert again.set_aside
    assert again.rows() == []
    again.write([row()], ())
    again.close()
    assert sorted(os.listdir(Path(path).parent)) == ["spool.db", "spool.db.damaged"]
    last = Spool(path)
    assert (last.set_aside, last.rows()) == (False, [row()])
    last.close()


def test_what_is_not_ours_is_refused(path: str, tmp_path: Path) -> None:
    Path(path).parent.mkdir()
    os.symlink(tmp_path / "elsewhere", path)
    with pytest.raises(HalfopenError, match="symbolic link"):
        Spool(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_later_version_is_left_alone(path: str) -> None:
    Spool(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.commit()
    db.close()
    with pytest.raises(HalfopenError, match="later halfopen"):
        Spool(path)
