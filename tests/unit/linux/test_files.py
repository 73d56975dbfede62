"""Files of record: private whatever the umask, in nobody else's directory, whole lines or nothing."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halfopen.core.errors import privilege
from halfopen.linux import files
from halfopen.linux.files import Unsafe


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size`: as a disk that is full there, also in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_what_is_made_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    directory = tmp_path / "a" / "b" / "halfopen"
    with umask(mask):
        files.make_directory(str(directory))
        os.close(files.open_to_append(str(directory / "file")))
    assert [mode(p) for p in (tmp_path / "a", tmp_path / "a" / "b", directory)] == [0o755, 0o755, 0o700]
    assert mode(directory / "file") == 0o600
    files.check_directory(str(directory), private=True)


@pytest.mark.parametrize("bits", [0o777, 0o770])
def test_a_directory_that_others_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(bits)
    with pytest.raises(Unsafe, match="could be written by others"):
        files.check_directory(str(directory), private=True)
    # Sticky, as the tmpfs of a container: what is there nobody else exchanges.
    directory.chmod(0o1777)
    files.check_directory(str(directory), private=True)


def test_so_is_one_in_a_directory_where_others_could_exchange_it(tmp_path: Path) -> None:
    directory = tmp_path / "shared" / "state"
    files.make_directory(str(directory))
    (tmp_path / "shared").chmod(0o777)
    for look in (
        lambda: files.check_directory(str(directory), private=True),
        lambda: files.make_directory(str(directory)),
    ):
        with pytest.raises(Unsafe, match=f"{tmp_path}/shared could be written by others"):
            look()
    # As /tmp: what somebody has there nobody else moves away. And as /var/log is on Ubuntu.
    for bits in (0o1777, 0o775):
        (tmp_path / "shared").chmod(bits)
        files.check_directory(str(directory), private=True)


def test_links_on_the_way_are_followed_and_looked_at(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    files.make_directory(str(tmp_path / "link" / ".." / "link" / "state"))
    assert mode(tmp_path / "real" / "state") == 0o700
    open_to_all.chmod(0o777)
    (open_to_all / "through").symlink_to(tmp_path / "real")
    (tmp_path / "out").symlink_to(open_to_all / "through")
    with pytest.raises(Unsafe, match="open could be written by others"):
        files.check_directory(str(tmp_path / "out" / "state"), private=True)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic links") as raised:
        files.make_directory(str(tmp_path / "round" / "state"))
    assert raised.value.errno == errno.ELOOP
    (tmp_path / "file").touch()
    with pytest.raises(Unsafe, match="file is not a directory"):
        files.make_directory(str(tmp_path / "file" / "state"))


def test_a_hard_linked_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    os.link(path, tmp_path / "other")
    for opened in (files.open_to_append, files.open_to_read):
        with pytest.raises(Unsafe, match="hard link"):
            opened(str(path))
        # A crash may leave the journal with two names, both ours.
        os.close(opened(str(path), twin=str(tmp_path / "other")))
    assert path.stat().st_size == 0


@pytest.mark.parametrize("kind", ["a pipe", "a link", "writable"])
def test_nor_is_another_kind_taken(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "a pipe":
        os.mkfifo(path, 0o600)
    elif kind == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.touch()
        path.chmod(0o620)
    for opened in (files.open_to_append, files.open_to_read):
        with pytest.raises((Unsafe, OSError)):
            opened(str(path))
    assert not (tmp_path / "elsewhere").exists()


def test_what_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first\n")
    fd = files.open_to_append(str(path))
    try:
        with at_most(10), pytest.raises(OSError, match="too large") as raised:
            files.append(fd, b"second, and longer\n")
        assert raised.value.errno == errno.EFBIG
        assert path.read_bytes() == b"first\n"
        assert files.ends_in_a_line(fd)
        # Without a turn others may have appended: nothing is taken back.
        with at_most(10), pytest.raises(OSError, match="too large"):
            files.append(fd, b"second, and longer\n", alone=False)
        assert path.read_bytes() == b"first\nseco"
        assert not files.ends_in_a_line(fd)
    finally:
        os.close(fd)


def test_whoever_has_the_lock_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    first, second = files.open_to_append(path), files.open_to_append(path)
    try:
        assert files.lock(first, 0.0)
        assert not files.lock(second, 0.05)
        had: list[bool] = []
        waiting = threading.Thread(target=lambda: had.append(files.lock(second, 20.0)))
        waiting.start()
        os.close(first)
        waiting.join()
        assert had == [True]
    finally:
        os.close(second)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EPERM, "lsattr"),
        (errno.ELOOP, "remove it"),
        (errno.EIO, "dmesg"),
    ],
)
def test_the_remedy_fits_what_is_wrong(code: int, words: str) -> None:
    _, remedy = files.what_and_remedy(OSError(code, os.strerror(code)), "/x", "choose another")
    assert words in remedy
    assert ("make room" in remedy) == (code == errno.ENOSPC)


def test_root_is_not_told_to_become_root(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    for uid, told in ((0, False), (1000, True)):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert ("run as root" in files.what_and_remedy(refused, "/x", "choose another")[1]) == told


def test_another_place_is_named_only_where_it_helps() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert files.what_and_remedy(full, "/x", "choose another")[1] == "make room, or choose another"
    assert files.what_and_remedy(full, "/x")[1] == "make room"
    assert files.what_and_remedy(Unsafe("it is not a regular file", "move it away"), "/x")[1] == "move it away"


def test_privileges_that_root_lacks_are_not_had_by_becoming_root() -> None:
    assert privilege(1000, "CAP_NET_ADMIN") == "run as root (it needs CAP_NET_ADMIN)"
    assert "run as root" not in privilege(0, "CAP_NET_ADMIN")
    assert "CAP_NET_ADMIN" in privilege(0, "CAP_NET_ADMIN")
