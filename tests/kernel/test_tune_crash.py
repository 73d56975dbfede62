"""`tune` killed at every step, and several at once: nothing stays, and no record lies."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
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
from halfopen.linux import proc
from halfopen.linux.netns import resolve, run_in
from halfopen.ops.tune import listener as tune_listener
from halfopen.ops.tune import tune
from run import environment, halfopen, helped

if TYPE_CHECKING:
    pass


RUNS, SHARES = 200, 4
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
        return {**tuning.held(self.path), **options}

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
        now = tuning.held(self.path)
        # With a change of tcp_synack_retries what stands for an unset TCP_SYNCNT follows.
        chosen = (
            tuning.KEYS if crash.startswith("follow") else self.chance.sample(tuning.KEYS, self.chance.randint(2, 3))
        )
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
    before = tuning.held(space)
    words = ("tune", "apply", "--yes", "--netns", space, "--set", "tcp_synack_retries=1")
    assert halfopen(*words, dies_at="apply.written").returncode == -signal.SIGKILL
    assert tuning.held(space)[keys.SYNACK] == 1
    assert halfopen("tune", "undo", "--all").stdout.startswith("1 change undone")
    assert tuning.held(space) == before
    assert halfopen(*words, dies_at="apply.begun").returncode == -signal.SIGKILL
    assert halfopen("tune", "undo", "--all").stdout.startswith("0 changes undone, 1 never made")


def test_several_at_once_take_turns(space: str) -> None:
    before = tuning.held(space)
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
    assert in_force(before) == tuning.held(space)
    tuning.undo()
    assert tuning.held(space) == before
