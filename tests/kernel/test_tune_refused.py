"""A `tune` that is refused, interrupted or out of date: one line, and nothing is left half done."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import capabilities
import tuning
from halfopen.change import sysctl
from halfopen.core.errors import HalfopenError, JournalError, NotPermitted, Refused
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux import files, netns
from halfopen.linux.netns import resolve
from halfopen.ops.tune import tune
from run import halfopen, in_a_mount_namespace, one_line
from tune_looks import command, server, set_, states, values

if TYPE_CHECKING:
    from halfopen.lab import Lab


_READ_ONLY = "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys"


@pytest.mark.root
def test_a_read_only_proc_sys(lab: Lab) -> None:
    before = values(lab)
    words = ("tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "mounted read-only" in one_line(in_a_mount_namespace(_READ_ONLY, *words), 3)
    assert values(lab) == before
    assert states() == []
    set_(lab, tcp_synack_retries=2)
    assert "mounted read-only" in one_line(in_a_mount_namespace(_READ_ONLY, "tune", "undo", "--all"), 3)
    assert states() == ["done"]
    assert halfopen("tune", "undo", "--all").returncode == 0
    assert values(lab) == before


@pytest.mark.root
def test_a_full_disk(lab: Lab, state: Path) -> None:
    before = values(lab)
    state.mkdir()
    full = f"mount -t tmpfs -o size=4k none {state}; head -c 4096 /dev/zero > {state}/all"
    done = in_a_mount_namespace(full, "tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "No space left on device" in one_line(done, 1)
    assert values(lab) == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_what_cannot_be_recorded_is_not_done(lab: Lab, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    before = values(lab)
    wanted = [WantedSetting(keys.SYNACK, 2, "test"), WantedSetting(keys.COOKIES, 0, "test")]
    with monkeypatch.context() as patch:
        _full_disk(patch, fails_at)
        with pytest.raises(JournalError, match="No space left"):
            tuning.apply(wanted, server(lab))
    assert values(lab) == before
    tuning.apply(wanted, server(lab))
    with monkeypatch.context() as patch:
        _full_disk(patch, fails_at)
        with pytest.raises(JournalError, match="No space left"):
            tuning.undo([max(c.id for c, _ in tune.log()[1])])
    assert values(lab) == {**before, keys.SYNACK: 2, keys.COOKIES: 0}
    tuning.undo()
    assert values(lab) == before
    assert not {"begun", "done", "undoing"} & set(states())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotPermitted("no")])
def test_interrupted_or_refused_halfway_takes_all_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = values(lab)
    write = sysctl.write

    def halfway(key: str, value: int) -> int:
        if key == keys.COOKIES and value == 0:
            raise error
        return write(key, value)

    monkeypatch.setattr(sysctl, "write", halfway)
    with pytest.raises(type(error)):
        tuning.apply([WantedSetting(keys.SYNACK, 2, "test"), WantedSetting(keys.COOKIES, 0, "test")], server(lab))
    assert values(lab) == before
    assert states() == ["refused", "refused"]


def test_an_undo_that_is_refused_leaves_the_change_in_force(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    set_(lab, tcp_synack_retries=2, tcp_syncookies=0)
    write = sysctl.write

    def refuse(key: str, value: int) -> int:
        if key == keys.COOKIES:
            raise NotPermitted("no")
        return write(key, value)

    with monkeypatch.context() as patch:
        patch.setattr(sysctl, "write", refuse)
        assert [u.state for u in tuning.undo().undone] == ["undone", "failed"]
    assert states() == ["undone", "done"]
    assert [u.state for u in tuning.undo().undone] == ["undone"]


def _full_disk(patch: pytest.MonkeyPatch, fails_at: int) -> None:
    """The n-th record of the journal is written by half, and then the disk is full."""
    write, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        if not os.readlink(f"/proc/self/fd/{fd}").endswith("tune.jsonl"):
            return write(fd, data)
        calls.append(fd)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data if len(calls) < fails_at else data[: len(data) // 2])

    patch.setattr(files.os, "write", full)


@pytest.mark.root
def test_a_namespace_that_vanishes() -> None:
    fd = netns.create()
    tuning.apply([WantedSetting(keys.SYNACK, 2, "test")], resolve(f"/proc/{os.getpid()}/fd/{fd}"))
    os.close(fd)
    [row] = command("undo", "--all")["changes"]
    assert row["state"] == "gone"
    assert states() == ["gone"]


def test_another_boot(lab: Lab, state: Path) -> None:
    set_(lab, tcp_synack_retries=2)
    path = state / "tune.jsonl"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path.write_text(path.read_text().replace(boot, "0" * 8))
    result = tuning.undo([1])
    assert [u.state for u in result.undone] == ["gone"]
    assert values(lab)[keys.SYNACK] == 2


@pytest.mark.root
def test_no_permission(lab: Lab) -> None:
    before = values(lab)
    done = capabilities.halfopen("tune", "apply", "--yes", "--netns", lab.server.netns_path)
    assert "refused" in one_line(done, 3)
    # Inside the namespace, with a journal of its own. pytest's directories are closed to others.
    with tempfile.TemporaryDirectory() as own:
        os.chown(own, capabilities.NOBODY, capabilities.NOBODY)
        words = capabilities.command("tune", "apply", "--yes")
        variables = capabilities.environment_of_nobody(HALFOPEN_STATE_DIR=own)
        process = lab.server.spawn(words, stderr=subprocess.PIPE, env=variables)
        _, error = process.communicate(timeout=60)
        assert not os.path.exists(f"{own}/tune.jsonl")  # told before anything was begun
    assert process.returncode == 3
    assert error == f"halfopen: writing {keys.SYNACK} is refused; run as root (sudo)\n"
    assert values(lab) == before


def test_a_journal_that_others_may_write_or_that_is_none(lab: Lab, state: Path) -> None:
    set_(lab, tcp_synack_retries=2)
    path = state / "tune.jsonl"
    assert (path.stat().st_mode & 0o777, state.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o622)
    assert "could be written by others" in one_line(halfopen("tune", "undo", "--all"), 1)
    path.chmod(0o600)
    whole = path.read_bytes()
    path.write_bytes(whole + b"junk\n")
    assert "line 3" in one_line(halfopen("tune", "undo", "--all"), 1)
    path.write_bytes(whole + b'{"event":"then","id":1,"ti')
    assert command("undo", "--all")["changes"][0]["state"] == "undone"


def test_errors_of_the_kernel_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for code, kind in ((errno.EROFS, NotPermitted), (errno.EACCES, NotPermitted), (errno.EINVAL, Refused)):

        def refuse(*_: object, code: int = code) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(sysctl.os, "open", refuse)
        with pytest.raises(HalfopenError) as caught:
            sysctl.write(keys.SYNACK, 1)
        assert type(caught.value) is kind
