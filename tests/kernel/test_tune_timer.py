"""A change for a time is undone by systemd or by a child process, whatever became of the command."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tuning
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux import netns, systemd
from halfopen.linux.netns import resolve
from halfopen.ops.tune import arm, tune
from halfopen.ops.tune.timer import undo_at
from peers import until
from run import halfopen

if TYPE_CHECKING:
    from halfopen.lab import Lab


def test_a_change_for_a_time_returns_by_itself(lab: Lab, state: Path) -> None:
    """Whatever became of the command: it ended, or was killed before, between and after the write and its record."""
    path = lab.server.netns_path
    before = tuning.held(path)
    crashes = {
        "apply.armed": keys.FIN_TIMEOUT,
        "apply.written": keys.SYNACK,
        "apply.done": keys.ABORT,
        "": keys.COOKIES,
    }
    for crash, key in crashes.items():
        words = ("tune", "apply", "--yes", "--json", "--netns", path, "--set", f"{key}=2", "--for", "2s")
        done = halfopen(*words, dies_at=crash)
        assert done.returncode == (-signal.SIGKILL if crash else 0), done.stderr
        if not crash:
            assert json.loads(done.stdout)["returns_by"] == "child"
    until(lambda: not tuning.waiting(state))
    assert tuning.held(path) == before
    assert [c.state for c, _ in tune.log()[1]] == ["refused", "undone", "undone", "undone"]


def test_a_namespace_that_only_a_descriptor_leads_to_returns_as_well(state: Path) -> None:
    fd = netns.create()
    try:
        words = ("tune", "apply", "--yes", "--set", "tcp_synack_retries=1", "--for", "1.5s", "--netns")
        assert halfopen(*words, f"/proc/self/fd/{fd}", pass_fds=(fd,)).returncode == 0
    finally:
        os.close(fd)
    assert len(tuning.waiting(state)) == 1
    until(lambda: not tuning.waiting(state))
    [(change, _)] = tune.log()[1]
    assert (change.state, change.why) == ("undone", "")


def test_whoever_waits_goes_when_it_is_undone_before(space: str, state: Path) -> None:
    tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=600.0)
    assert len(tuning.waiting(state)) == 1
    assert tuning.undo([1]).undone[0].state == "undone"
    until(lambda: not tuning.waiting(state))


def test_a_late_timer_leaves_another_change_of_that_number_alone(space: str, state: Path) -> None:
    tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space))
    assert undo_at([1], 5.0).undone == ()
    assert halfopen("tune", "undo", "1", "--at", "5").returncode == 0
    assert tuning.held(space)[keys.SYNACK] == 1
    tuning.undo()


def test_what_is_overdue_is_undone_by_the_next_command(space: str, state: Path) -> None:
    before = tuning.held(space)
    tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=1.0)
    for pid in tuning.waiting(state):
        os.kill(pid, signal.SIGKILL)
    [(change, _)] = tune.log()[1]
    said = []

    def shown() -> bool:
        said.append(halfopen("tune", "log").stderr)
        return tuning.held(space) == before

    until(shown)
    assert f"change {change.id} ({keys.SYNACK} in {space}): undone" in said[-1]


def _systemd_run(directory: Path, script: str) -> None:
    program = directory / "systemd-run"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_systemd_sees_to_it_where_it_runs(
    lab: Lab, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake systemd-run that keeps its words and runs the command at once; the command itself waits for its time."""
    record = tmp_path / "words"
    keep = f'printf "%s\\n" "$@" > {record}'
    # As systemd does: nothing of the caller's environment but what --setenv names.
    run = 'for w; do case $w in --setenv=*) e="$e ${w#--setenv=}";; --) break;; esac; done\n'
    run += f'while [ "$1" != -- ]; do shift; done; shift\nenv -i {_mark()} $e "$@" >/dev/null 2>&1 &'
    _systemd_run(tmp_path, f"{keep}\n{run}")
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path))
    monkeypatch.setattr(arm, "_systemd_is_first", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    there = lab.server.spawn(["cat"], stdin=subprocess.PIPE)
    path = f"/proc/{there.pid}/ns/net"
    until(lambda: os.stat(path).st_ino == lab.server.inode)
    before = tuning.held(path)
    result = tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(path), for_s=1.5)
    assert result.returns_by == "systemd"
    words = record.read_text().splitlines()
    assert "--collect" in words
    assert [w for w in words if w.startswith("--on-active=1.")]
    assert words[words.index("--") + 1 :][:6] == [sys.executable, "-P", "-m", "halfopen.ops.tune.timer", "1", "--at"]
    until(lambda: tuning.held(path) == before)
    until(lambda: not tuning.waiting(state))
    lab.server.end(there)


def _mark() -> str:
    import leftovers

    return f"{leftovers.MARK}={os.environ[leftovers.MARK]}"


def test_a_child_sees_to_it_where_systemd_refuses(
    lab: Lab, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _systemd_run(tmp_path, "exit 1")
    monkeypatch.setattr(systemd, "RUNS", str(tmp_path))
    monkeypatch.setattr(arm, "_systemd_is_first", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    there = lab.server.spawn(["cat"], stdin=subprocess.PIPE)
    path = f"/proc/{there.pid}/ns/net"
    until(lambda: os.stat(path).st_ino == lab.server.inode)
    assert tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(path), for_s=600.0).returns_by == "child"
    tuning.undo()
    until(lambda: not tuning.waiting(state))
    lab.server.end(there)


def test_nothing_is_changed_when_nobody_would_undo_it(space: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfopen.core.errors import HalfopenError

    before = tuning.held(space)
    monkeypatch.setattr(arm.sys, "executable", "/nonexistent")
    with pytest.raises(HalfopenError, match="could not be started"):
        tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=600.0)
    assert tuning.held(space) == before
    assert [c.state for c, _ in tune.log()[1]] == ["refused"]
