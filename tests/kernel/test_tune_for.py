"""`tune apply --for` where its promise is at risk: clocks that are set, containers that end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import tuning
from halfopen.core.errors import JournalError
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux.netns import resolve
from halfopen.ops.tune import tune, values
from peers import until
from run import environment, halfopen, one_line

if TYPE_CHECKING:
    from halfopen.lab import Lab

HALFOPEN = [sys.executable, "-m", "halfopen"]
TIMER = [sys.executable, "-m", "halfopen.ops.tune.timer"]
# In a time namespace the boot's clock is an hour ahead: as if the wall clock had been set back by an hour.
SET_BACK = ["unshare", "--time", "--boottime", "3600", "--fork"]
APPLY = [*HALFOPEN, "tune", "apply", "--yes", "--set", "tcp_synack_retries=1", "--for"]


def run(*words: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env=environment(**options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def retries(lab: Lab) -> int:
    return values.read(resolve(lab.server.netns_path), [keys.SYNACK])[keys.SYNACK]


def container(lab: Lab) -> list[str]:
    """The words that run a command as process 1 of a container with the network of the lab's server."""
    return ["nsenter", f"--net={lab.server.netns_path}", "unshare", "--mount", "--pid", "--kill-child", "--mount-proc"]


def change_for(lab: Lab, state: Path, for_s: float) -> float:
    """Make a change for a time, and end whoever would undo it. Returns until when, by the wall clock."""
    result = tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(lab.server.netns_path), for_s=for_s)
    for pid in tuning.waiting(state):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not tuning.waiting(state))
    assert result.until_s is not None
    return result.until_s


@pytest.mark.root
def test_it_is_overdue_by_the_boots_clock_when_the_walls_was_set_back(lab: Lab, state: Path) -> None:
    before = retries(lab)
    change_for(lab, state, 3000.0)
    assert halfopen("tune", "log").returncode == 0
    assert retries(lab) == 1
    done = run(*SET_BACK, *HALFOPEN, "tune", "log")
    assert f"change 1 ({keys.SYNACK} in {lab.server.netns_path}): undone" in done.stderr
    assert retries(lab) == before


@pytest.mark.root
def test_whoever_waits_goes_by_the_boots_clock_too(lab: Lab, state: Path) -> None:
    """What a timer of systemd starts, and the process where there is none, are this command."""
    before = retries(lab)
    until_s = change_for(lab, state, 3000.0)
    done = run(*SET_BACK, *TIMER, "1", "--at", f"{until_s:.3f}")
    assert done.returncode == 0, done.stderr
    assert retries(lab) == before
    assert time.time() < until_s


@pytest.mark.root
def test_the_boots_clock_of_another_boot_says_nothing(lab: Lab, state: Path) -> None:
    change_for(lab, state, 3000.0)
    path = state / "tune.jsonl"
    began, done = path.read_text().splitlines()
    record = json.loads(began)
    assert 2900 < record["until_boot_s"] - time.clock_gettime(time.CLOCK_BOOTTIME) <= 3000
    record["place"]["boot_id"] = "0" * 8
    path.write_text(json.dumps(record) + "\n" + done + "\n")
    assert tune.Journal(None).look().overdue(tune.netns_lookup.clocks()) == []
    tuning.undo()


@pytest.mark.root
def test_as_process_1_it_refuses_before_anything_is_changed(lab: Lab, state: Path) -> None:
    """Who would undo it is killed with the container, which ends with process 1."""
    before = retries(lab)
    done = run(*container(lab), *APPLY, "60s")
    assert "is process 1 of this container" in one_line(done, 3)
    done = run(*container(lab), *APPLY, "60s", "--dry-run")
    assert "is process 1 of this container" in one_line(done, 3)
    assert retries(lab) == before
    assert not state.exists()


@pytest.mark.root
def test_so_it_does_under_an_init_that_ends_with_it(lab: Lab, tmp_path: Path) -> None:
    init = tmp_path / "tini"
    shutil.copy("/bin/sh", init)
    script = '"$@"; echo $? > "$0"'
    code = tmp_path / "code"
    done = run(*container(lab), str(init), "-c", script, str(code), *APPLY, "60s")
    assert "tini, process 1 of this container (PID namespace), exits together with this command" in done.stderr
    assert code.read_text() == "3\n"


@pytest.mark.root
def test_and_where_children_get_a_namespace_of_their_own(lab: Lab) -> None:
    done = run("nsenter", f"--net={lab.server.netns_path}", "unshare", "--pid", *APPLY, "60s")
    assert "ends when the first of them exits" in one_line(done, 3)


@pytest.mark.root
def test_in_a_container_that_goes_on_it_says_what_it_depends_on(lab: Lab, state: Path, tmp_path: Path) -> None:
    """And it is undone as long as the container lives; the host's systemd, shown in it, is not asked."""
    before = retries(lab)
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "systemd-run").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    (bin / "systemd-run").chmod(0o755)
    script = """
        mount -t tmpfs none /run; mkdir -p /run/systemd/system
        "$@" || exit
        while [ "$(cat /proc/sys/net/ipv4/tcp_synack_retries)" = 1 ]; do sleep 0.1; done
    """
    words = [*APPLY, "1s", "--json"]
    done = run(*container(lab), "sh", "-c", script, "sh", *words, PATH=f"{bin}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("halfopen: warning: a process in this container")
    assert json.loads(done.stdout)["returns_by"] == "child"
    assert not (tmp_path / "asked").exists()
    assert retries(lab) == before


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), JournalError("no")])
def test_whatever_keeps_it_from_being_armed_nothing_is_changed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: object) -> str:
        raise error

    before = retries(lab)
    monkeypatch.setattr("halfopen.ops.tune.arm.arm", broken)
    with pytest.raises(type(error)):
        tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(lab.server.netns_path), for_s=60.0)
    assert retries(lab) == before
    assert [c.state for c, _ in tune.log()[1]] == ["refused"]
