"""A hook command: facts on its standard input, a bounded time, and nothing of it left behind."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from halfopen.core.errors import Undelivered
from halfopen.core.notice import decode
from halfopen.notify import process
from halfopen.notify.hook import Hook
from halfopen.notify.receiver import Message
from notices import notice, receiver


def hook(*command: str, within_s: float = 15.0, **changes: object) -> str:
    return Hook(receiver("command", command=command)).send([Message("m", notice(**changes))], within_s)


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_facts_come_as_json_and_in_few_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.setenv("A_TOKEN", "hunter22")
    out, env = tmp_path / "out", tmp_path / "env"
    assert hook(script(tmp_path, f'cat > {out}; env > {env}; test "$1" = "a b; false"'), "a b; false") == "exit code 0"
    assert decode(out.read_bytes()) == notice()
    assert json.loads(out.read_text())["waiting"] == 4096
    words = dict(line.split("=", 1) for line in env.read_text().splitlines())
    assert words["HALFOPEN_INCIDENT"] == "i-1"
    assert words["HALFOPEN_LISTENER"] == ":443"
    assert not words.keys() & {"CREDENTIALS_DIRECTORY", "A_TOKEN"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo no room >&2; exit 3", "exit code 3: no room"),
        ("kill -TERM $$", "killed by signal 15"),
        ("printf '\\033[31mred' >&2; exit 1", "exit code 1: ?[31mred"),
    ],
)
def test_failures(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Undelivered) as e:
        hook(script(tmp_path, text))
    assert e.value.message.endswith(says)


def test_no_such_program() -> None:
    with pytest.raises(Undelivered, match="No such file"):
        hook("/no/such/program")


def test_one_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(Undelivered, match="and was killed"):
        hook(script(tmp_path, f"sleep 300 & echo $$ $! > {pids}; wait"), within_s=2.0)
    assert time.monotonic() - began < 60
    deadline = time.monotonic() + 60
    while any(map(alive, map(int, pids.read_text().split()))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_it_leaves_behind_ends_with_it_and_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    assert hook(script(tmp_path, f"sleep 300 & echo $! > {pid}; exit 0")) == "exit code 0"
    assert time.monotonic() - began < 60
    deadline = time.monotonic() + 60
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_output_without_end_is_bounded_and_input_need_not_be_read(tmp_path: Path) -> None:
    outcome = process.run(["/bin/sh", "-c", "head -c 5000000 /dev/zero; exec <&-; exit 4"], b"x" * 1_000_000, {}, 15)
    assert outcome.code == 4
    assert 0 < len(outcome.output) <= 16 * 1024
    outcome = process.run(["/bin/cat"], os.urandom(15_000), {}, 15)
    assert len(outcome.output) == 15_000
