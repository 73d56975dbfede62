"""Small files: read whole and bounded; what cannot be read is None, or an error that says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from halfopen.linux import small_files


def test_small_files_are_read_whole_and_bounded(tmp_path: Path) -> None:
    long = tmp_path / "long"
    long.write_bytes(b"x" * 200_000)
    assert small_files.read(str(long)) == b"x" * 200_000
    assert small_files.read(str(long), 100_000) == b"x" * 100_000
    long.write_bytes(b" \xff1\n")
    assert small_files.text(str(long)) == "\ufffd1"


@pytest.mark.parametrize("path", ["/dev/zero", "/proc", "/nonexistent", "a\0b", ""])
def test_what_is_no_regular_file_is_none(path: str) -> None:
    assert small_files.read(path) is None
    assert small_files.text(path) == ""


def test_a_pipe_that_nobody_writes_to_does_not_hold_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert small_files.read(str(tmp_path / "pipe")) is None


def test_must_read_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        small_files.must_read(str(tmp_path / "none"))
    for path in ("/dev/zero", str(tmp_path)):
        with pytest.raises(OSError, match="is not a regular file"):
            small_files.must_read(path)
    with pytest.raises(ValueError, match="null"):
        small_files.must_read("a\0b")


def test_the_end_of_a_file_is_bounded_and_of_a_regular_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n")
    os.mkfifo(tmp_path / "pipe")
    assert small_files.tail(str(tmp_path / "log"), 4) == b"two\n"
    assert small_files.tail(str(tmp_path / "log"), 100) == b"one\ntwo\n"
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path), str(tmp_path / "none")):
        assert small_files.tail(path, 4) is None
