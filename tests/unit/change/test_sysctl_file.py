"""Our file of sysctl.d on the disk: replaced as a whole or not at all, never through a link, others never touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from halfopen.change import sysctl_file
from halfopen.core.errors import NotPermitted, SysctlDError, Unsupported
from halfopen.core.tune.sysctl_d import HEADER, NAME

A, B = "net.ipv4.tcp_synack_retries", "net.core.somaxconn"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "sysctl.d"
    made.mkdir(mode=0o755)
    (made / "99-other.conf").write_text("net.core.somaxconn = 1\n")
    monkeypatch.setattr(sysctl_file, "DIRECTORY", str(made))
    return made


def found(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in directory.iterdir()}


def test_written_reduced_and_removed(directory: Path) -> None:
    before = found(directory)
    umask = os.umask(0o077)
    try:
        assert sysctl_file.write(A, 2) == 2
    finally:
        os.umask(umask)
    assert (directory / NAME).read_text() == f"{HEADER}{A} = 2\n"
    assert (directory / NAME).stat().st_mode & 0o7777 == 0o644
    assert sysctl_file.write(B, 4096) == 4096
    assert sysctl_file.entries() == {A: 2, B: 4096}
    assert sysctl_file.write(A, None) is None
    assert (sysctl_file.read(A), sysctl_file.read(B)) == (None, 4096)
    assert sysctl_file.write(B, None) is None
    assert found(directory) == before
    assert sysctl_file.write(B, None) is None
    sysctl_file.check()


@pytest.mark.parametrize("where", [NAME, f"{NAME}.new"])
def test_a_link_is_never_followed(directory: Path, tmp_path: Path, where: str) -> None:
    target = tmp_path / "target"
    target.write_text("as it was")
    (directory / where).symlink_to(target)
    if where == NAME:
        with pytest.raises(SysctlDError, match="is a symbolic link"):
            sysctl_file.write(A, 2)
        assert (directory / NAME).is_symlink()
    else:
        sysctl_file.write(A, 2)
        assert not (directory / NAME).is_symlink()
    assert target.read_text() == "as it was"


def test_what_is_no_file_of_its_own_is_left_alone(directory: Path, tmp_path: Path) -> None:
    sysctl_file.write(A, 2)
    os.link(directory / NAME, tmp_path / "second")
    with pytest.raises(SysctlDError, match="not a regular file of its own"):
        sysctl_file.write(A, 3)
    (directory / NAME).unlink()
    os.mkfifo(directory / NAME)
    with pytest.raises(SysctlDError, match="not a regular file"):
        sysctl_file.read(A)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_the_old_file(directory: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    sysctl_file.write(A, 2)
    before = found(directory)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sysctl_file.os, call, full)
        with pytest.raises(SysctlDError, match="No space left on device"):
            sysctl_file.write(A, 3)
    assert found(directory) == before


def test_a_killed_write_is_cleaned_up(directory: Path) -> None:
    before = found(directory)
    (directory / f"{NAME}.new").write_text("half of it")
    sysctl_file.clean()
    assert found(directory) == before
    sysctl_file.clean()


def test_a_directory_that_others_may_write_or_that_is_not_there(directory: Path, tmp_path: Path) -> None:
    directory.chmod(0o777)
    with pytest.raises(SysctlDError, match="could be written by others"):
        sysctl_file.write(A, 2)
    directory.chmod(0o755)
    directory.rename(tmp_path / "elsewhere")
    for call in (sysctl_file.check, lambda: sysctl_file.write(A, 2)):
        with pytest.raises(Unsupported, match="there is no directory"):
            call()
    sysctl_file.clean()


def test_a_foreign_file_is_one_line(directory: Path) -> None:
    (directory / NAME).write_text(f"{A} = 2\n")
    with pytest.raises(SysctlDError) as caught:
        sysctl_file.write(A, 3)
    assert caught.value.line().startswith(f"{directory}/{NAME} was changed by somebody else: ")
    (directory / NAME).write_bytes(HEADER.encode() * 2000)
    with pytest.raises(SysctlDError, match="too large"):
        sysctl_file.check()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (errno.EROFS, NotPermitted, "mounted read-only"),
        (errno.EACCES, NotPermitted, "run as root" if os.geteuid() else "a security module may forbid it"),
        (errno.ENOSPC, SysctlDError, "make room"),
        (errno.EIO, SysctlDError, "Input/output error"),
    ],
)
def test_errors_are_told_apart(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception], words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sysctl_file.os, "rename", refuse)
    with pytest.raises(kind) as caught:
        sysctl_file.write(A, 2)
    assert words in caught.value.line()  # type: ignore[attr-defined]
    assert ("make room" in caught.value.line()) == (code == errno.ENOSPC)  # type: ignore[attr-defined]
    assert not (directory / NAME).exists()
