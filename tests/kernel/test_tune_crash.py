"""`tune` killed at every step, several at once, returning by itself: nothing stays, and no record lies."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tuning
from halfopen.core.tune import keys
from halfopen.core.tune.goals import WantedSetting
from halfopen.core.tune.listener import Wishes
from halfopen.linux import netns, proc
from halfopen.linux.netns import resolve, run_in
from halfopen.ops.tune import arm, tune, values
from halfopen.ops.tune import listener as tune_listener
from halfopen.ops.tune.timer import undo_at
from peers import until
from run import SRC, environment, halfopen, helped

if TYPE_CHECKING:
    from halfopen.lab import Lab

RUNS, SHARES = 200, 4
KEYS = (keys.SYNACK, keys.COOKIES, keys.ABORT)
OPTIONS = ("backlog", "retries", "defer_accept_s")
RETRIES = "listener.retries"
# Every place where a command can die; `torn` dies with half of a record written.
STEPS = [
    *("apply.begun", "apply.written:1", "apply.written:2", "apply.done"),
    *("undo.undoing:1", "undo.undoing:2", "undo.written:1", "undo.written:2", "undo.undone:1", "undo.undone:2"),
    *("torn:1", "torn:2", "follow.recorded"),
]

# Forks one process for each job: a process of its own to kill, and no start-up to wait for.
_FORKER = """
import json, os, sys
import tuning
from halfopen.core.tune.listener import Wishes
from halfopen.core.tune.goals import WantedSetting
from halfopen.linux.netns import resolve

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            checkpoint = tuning.dying_at(job["crash"])
            if "wanted" in job:
                wanted = [WantedSetting(k, v, "test") for k, v in job["wanted"].items()]
                tuning.apply(wanted, resolve(job["netns"]), checkpoint=checkpoint)
            elif "wishes" in job:
                tuning.change(resolve(job["netns"]), 8080, Wishes(**job["wishes"]), checkpoint=checkpoint)
            else:
                tuning.undo(job["ids"], checkpoint=checkpoint)
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def space() -> Iterator[str]:
    """An empty namespace, by a path."""
    fd = netns.create()
    yield f"/proc/{os.getpid()}/fd/{fd}"
    os.close(fd)


@pytest.fixture
def job(space: str) -> Iterator[Callable[..., int]]:
    """Runs a command in a process of its own inside the namespace; gives its exit code, -9 when it was killed."""
    words = [sys.executable, "-c", _FORKER]
    pipe = subprocess.PIPE
    fd = os.open(space, os.O_RDONLY)
    forker = run_in(fd, lambda: subprocess.Popen(words, stdin=pipe, stdout=pipe, env=helped(), text=True))
    os.close(fd)
    with forker:
        assert forker.stdin
        assert forker.stdout

        def run(**words: Any) -> int:
            assert forker.stdin
            assert forker.stdout
            print(json.dumps({"crash": "", **words}), file=forker.stdin, flush=True)
            return int(forker.stdout.readline())

        yield run
        forker.stdin.close()


def held(path: str) -> dict[str, int]:
    return values.read(resolve(path), KEYS)


def in_force(before: dict[str, int]) -> dict[str, int]:
    """What the journal says is so."""
    said = dict(before)
    for change, _ in tune.log()[1]:
        if change.live:
            assert change.state == "done", change
            assert change.value is not None
            said[change.began.key] = change.value
    return said


class World:
    """A namespace with a listener, commands that change either at random, and what is so."""

    def __init__(self, path: str, job: Callable[..., int], seed: int) -> None:
        self.ns = resolve(path)
        self.path = path
        self.job = job
        self.chance = random.Random(seed)

    def held(self) -> dict[str, int]:
        """Settings, and options of the listener: of TCP_SYNCNT what it comes to, as it cannot be unset."""
        looked = tune_listener.look_at_listener(self.ns, None, 8080)
        [one] = looked.sockets
        assert one.problem is None
        retries = looked.synack_retries if one.retries is None else one.retries
        options = {"listener.backlog": one.backlog, "listener.defer_accept": one.defer_accept_s, RETRIES: retries}
        return {**held(self.path), **options}

    def said(self, before: dict[str, int]) -> dict[str, int]:
        """What the journal says is so."""
        said = in_force(before)
        if not any(c.live and c.began.key == RETRIES for c, _ in tune.log()[1]):
            said[RETRIES] = said[keys.SYNACK]
        return said

    def apply(self, crash: str = "") -> int:
        # Two settings or options at least, each to another value than it has.
        return self.settings(crash) if self.chance.random() < 0.5 else self.listener(crash)

    def settings(self, crash: str = "") -> int:
        now = held(self.path)
        # With a change of tcp_synack_retries what stands for an unset TCP_SYNCNT follows.
        chosen = KEYS if crash.startswith("follow") else self.chance.sample(KEYS, self.chance.randint(2, 3))
        wanted = {key: self.chance.choice([v for v in range(1, 4) if v != now[key]]) for key in chosen}
        wanted[keys.ABORT] = 1 - now[keys.ABORT]
        wanted[keys.COOKIES] = (now[keys.COOKIES] + 1) % 3
        if crash:
            return self.job(wanted=wanted, netns=self.path, crash=crash)
        tuning.apply([WantedSetting(k, v, "test") for k, v in wanted.items()], self.ns)
        return 0

    def listener(self, crash: str = "") -> int:
        now = self.held()
        values = {"backlog": (8, 16, 32), "retries": (1, 2, 3), "defer_accept_s": (1, 3, 7)}
        held_ = dict(zip(OPTIONS, (now["listener.backlog"], now[RETRIES], now["listener.defer_accept"]), strict=True))
        names = self.chance.sample(OPTIONS, self.chance.randint(2, 3))
        wishes = {name: self.chance.choice([v for v in values[name] if v != held_[name]]) for name in names}
        if crash:
            return self.job(wishes=wishes, netns=self.path, crash=crash)
        tuning.change(self.ns, 8080, Wishes(**wishes))
        return 0

    def undo(self, crash: str = "") -> int:
        ids = [c.id for c, _ in tune.log()[1] if c.live]
        chosen = self.chance.sample(ids, self.chance.randint(1, len(ids))) if ids else None
        if crash:
            return self.job(ids=chosen, crash=crash)
        tuning.undo(chosen)
        return 0

    def begin(self, step: str) -> Callable[[str], int]:
        """Some changes in force; and a command that may die at this step."""
        if step.startswith("follow"):
            tuning.change(self.ns, 8080, Wishes(retries=7))
            tuning.undo()
            return self.settings
        for _ in range(self.chance.randint(1, 2)):
            self.apply()
        return {"a": self.apply, "u": self.undo}.get(step[0]) or self.chance.choice([self.apply, self.undo])


@contextmanager
def listening() -> Iterator[None]:
    """A fresh listener in this thread's namespace: one whose TCP_SYNCNT was never set."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 8080))
        listener.listen(4)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_every_step(
    space: str, state: Path, job: Callable[..., int], share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shares, which run side by side: each takes some of the steps."""
    # This process holds the listener. To look for it among all the machine's would be most of the work.
    monkeypatch.setattr(proc, "pids", lambda: [os.getpid()])
    monkeypatch.setattr(proc, "has_open_files", lambda _: False)
    fd = os.open(space, os.O_RDONLY)
    try:
        # Inside the namespace, so that nothing needs a thread to enter it.
        run_in(fd, lambda: _killed_at(World(space, job, share), state / "tune.jsonl", STEPS[share::SHARES]))
    finally:
        os.close(fd)


def _killed_at(world: World, journal: Path, steps: list[str]) -> None:
    killed = dict.fromkeys(steps, 0)
    for n in range(RUNS // SHARES):
        step = steps[n % len(steps)]
        journal.unlink(missing_ok=True)
        with listening():
            before = world.held()
            dies = world.begin(step)
            code = dies(step)
            assert code in (0, -signal.SIGKILL)
            killed[step] += code != 0
            # Any next command sees what is so.
            tuning.apply([], world.ns)
            assert world.said(before) == world.held()
            world.chance.choice([world.apply, world.undo])()
            tuning.undo()
            assert world.held() == before
            assert not any(c.live for c, _ in tune.log()[1])
    assert sum(killed.values()) > RUNS // SHARES // 2, killed
    assert all(killed.values()), killed


def test_the_command_itself_is_killed(space: str) -> None:
    before = held(space)
    words = ("tune", "apply", "--yes", "--netns", space, "--set", "tcp_synack_retries=1")
    assert halfopen(*words, dies_at="apply.written").returncode == -signal.SIGKILL
    assert held(space)[keys.SYNACK] == 1
    assert halfopen("tune", "undo", "--all").stdout.startswith("1 change undone")
    assert held(space) == before
    assert halfopen(*words, dies_at="apply.begun").returncode == -signal.SIGKILL
    assert halfopen("tune", "undo", "--all").stdout.startswith("0 changes undone, 1 never made")


def test_several_at_once_take_turns(space: str) -> None:
    before = held(space)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "halfopen", "tune", *words],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for words in [
            *(["apply", "--yes", "--netns", space, "--set", f"tcp_synack_retries={n}"] for n in (0, 1, 2, 3)),
            ["undo", "--all"],
            ["undo", "--all"],
        ]
    ]
    # All of them end before anything is asserted: one that fails leaves none behind.
    errors = [process.communicate(timeout=60)[1] for process in running]
    assert [(process.returncode, error) for process, error in zip(running, errors, strict=True)] == [(0, b"")] * 6
    assert in_force(before) == held(space)
    tuning.undo()
    assert held(space) == before


# --- for a time -------------------------------------------------------------------------------------------------------


def test_a_change_for_a_time_returns_by_itself(lab: Lab, state: Path) -> None:
    """Whatever became of the command: it ended, or was killed before, between and after the write and its record."""
    path = lab.server.netns_path
    before = held(path)
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
    assert held(path) == before
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
    assert held(space)[keys.SYNACK] == 1
    tuning.undo()


def test_what_is_overdue_is_undone_by_the_next_command(space: str, state: Path) -> None:
    before = held(space)
    tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=1.0)
    for pid in tuning.waiting(state):
        os.kill(pid, signal.SIGKILL)
    [(change, _)] = tune.log()[1]
    said = []

    def shown() -> bool:
        said.append(halfopen("tune", "log").stderr)
        return held(space) == before

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
    monkeypatch.setattr(arm, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(arm, "_systemd_is_first", lambda: True)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    there = lab.server.spawn(["cat"], stdin=subprocess.PIPE)
    path = f"/proc/{there.pid}/ns/net"
    until(lambda: os.stat(path).st_ino == lab.server.inode)
    before = held(path)
    result = tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(path), for_s=1.5)
    assert result.returns_by == "systemd"
    words = record.read_text().splitlines()
    assert "--collect" in words
    assert [w for w in words if w.startswith("--on-active=1.")]
    assert words[words.index("--") + 1 :][:6] == [sys.executable, "-P", "-m", "halfopen.ops.tune.timer", "1", "--at"]
    until(lambda: held(path) == before)
    until(lambda: not tuning.waiting(state))
    lab.server.end(there)


def _mark() -> str:
    import leftovers

    return f"{leftovers.MARK}={os.environ[leftovers.MARK]}"


def test_a_child_sees_to_it_where_systemd_refuses(
    lab: Lab, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _systemd_run(tmp_path, "exit 1")
    monkeypatch.setattr(arm, "SYSTEMD", str(tmp_path))
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

    before = held(space)
    monkeypatch.setattr(arm.sys, "executable", "/nonexistent")
    with pytest.raises(HalfopenError, match="could not be started"):
        tuning.apply([WantedSetting(keys.SYNACK, 1, "test")], resolve(space), for_s=600.0)
    assert held(space) == before
    assert [c.state for c, _ in tune.log()[1]] == ["refused"]


def test_the_checkout_is_what_the_child_runs() -> None:
    assert arm._python_path().split(os.pathsep)[0] == str(SRC)
