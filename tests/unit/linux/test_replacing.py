"""A file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfopen.linux.replacing import replace

BEFORE = {"file": b"before"}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(BEFORE["file"])
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def found(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir()}


def test_the_mode_is_the_one_asked_for_whatever_the_umask(directory: int, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        replace(directory, "file", b"after", new="new", mode=0o644)
    finally:
        os.umask(umask)
    assert found(tmp_path) == {"file": b"after"}
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_short_write_is_continued(directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    replace(directory, "file", b"ten bytes.", new="new", mode=0o644)
    assert found(tmp_path) == {"file": b"ten bytes."}


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_failure_leaves_the_old_file_and_no_other(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            replace(directory, "file", b"after", new="new", mode=0o644, durable=True)
    assert found(tmp_path) == BEFORE


def test_a_link_in_the_way_is_not_followed(directory: int, tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to(tmp_path / "elsewhere")
    replace(directory, "file", b"after", new="new", mode=0o600)
    assert found(tmp_path) == {"file": b"after"}


def test_stopped_before_the_rename_the_old_file_stands(directory: int, tmp_path: Path) -> None:
    def stop() -> None:
        assert found(tmp_path) == BEFORE | {"new": b"after"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(directory, "file", b"after", new="new", mode=0o600, written=stop)
    assert found(tmp_path) == BEFORE
