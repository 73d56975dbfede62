"""The spool of notices of a watch that root runs belongs to the user that sends them, from one start to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.linux import files
from halfopen.linux.files import Unsafe
from halfopen.service import notifying

pytestmark = pytest.mark.root

SOMEBODY = 65534
ANOTHER = 1234


def test_a_directory_of_another_user_is_made_once_and_found_again(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "spool"
    for _ in range(2):
        files.make_directory_of(str(directory), SOMEBODY, SOMEBODY)
        facts = directory.stat()
        assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (SOMEBODY, SOMEBODY, 0o700)
    assert (tmp_path / "var").stat().st_uid == 0
    with pytest.raises(Unsafe, match="belongs to another user"):
        files.make_directory_of(str(directory), ANOTHER, ANOTHER)
    with pytest.raises(Unsafe, match="belongs to another user"):
        files.make_directory_of(str(directory / "deeper"), SOMEBODY, SOMEBODY)
    directory.chmod(0o777)
    with pytest.raises(Unsafe, match="could be written by others"):
        files.make_directory_of(str(directory), SOMEBODY, SOMEBODY)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        files.make_directory_of(str(tmp_path / "link"), SOMEBODY, SOMEBODY)
    assert tmp_path.stat().st_uid == 0


def test_a_watch_with_receivers_starts_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFOPEN_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(notifying, "face_user", lambda: (SOMEBODY, SOMEBODY))
    first = notifying.spool_path()
    assert first == str(tmp_path / "state-notify" / "notify.db")
    assert notifying.spool_path() == first
    monkeypatch.setattr(notifying, "face_user", lambda: (ANOTHER, ANOTHER))
    with pytest.raises(HalfopenError, match="belongs to another user"):
        notifying.spool_path()
