"""`tune apply --persist` and its undo killed at every step, the machine booted in between or not: nothing stays."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfopen.core.tune import keys
from halfopen.core.tune.sysctl_d import NAME, entries
from whole_machine import Machine

pytestmark = pytest.mark.root

RUNS, SHARES = 200, 4
KEYS = (keys.SYNACK, keys.COOKIES, keys.ABORT)
# `file.new`: the new file is written beside the old one; `file.replaced`: it has taken its place.
STEPS = [
    *("apply.begun", "apply.written:1", "apply.written:2", "apply.written:3", "apply.done"),
    *("file.new:1", "file.new:2", "file.replaced:1", "file.replaced:2"),
    *("undo.undoing:1", "undo.undoing:3", "undo.written:1", "undo.written:3", "undo.undone:1", "undo.undone:3"),
    *("torn:1", "torn:2"),
]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    (tmp_path / "sysctl.d").mkdir()
    (tmp_path / "sysctl.d" / "10-other.conf").write_text("net.core.somaxconn = 512\n")
    with Machine(tmp_path) as made:
        yield made


def held(machine: Machine) -> dict[str, int]:
    paths = [f"/proc/sys/{key.replace('.', '/')}" for key in KEYS]
    return dict(zip(KEYS, map(int, machine.run("cat", *paths).stdout.split()), strict=True))


def kept(machine: Machine) -> dict[str, int]:
    path = machine.sysctl_d / NAME
    return entries(path.read_bytes() if path.exists() else None)


def said(machine: Machine, before: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """What the journal says that the kernel and the file hold."""
    from halfopen.change.journal_file import Journal

    running, file = dict(before), {}
    for change in Journal(str(machine.state)).look().changes.values():
        if change.live:
            assert change.state == "done", change
            assert change.value is not None
            (file if change.spot.lasting else running)[change.began.key] = change.value
    return running, file


def live(machine: Machine) -> list[int]:
    from halfopen.change.journal_file import Journal

    return [c.id for c in Journal(str(machine.state)).look().live()]


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_killed_at_every_step_with_files_in_the_mix(machine: Machine, share: int) -> None:
    """In shares, which run side by side: each takes some of the steps."""
    chance = random.Random(share)
    steps = STEPS[share::SHARES]
    before, files = held(machine), machine.files()
    killed = dict.fromkeys(steps, 0)

    def apply(crash: str = "") -> int:
        now = held(machine)
        chosen = chance.sample(KEYS, chance.randint(1, 2))
        wanted = {key: chance.choice([v for v in range(3) if v != now[key]]) for key in chosen}
        return machine.tune(wanted, persist=bool(crash) or chance.random() < 0.7, crash=crash)

    def undo(crash: str = "", *, everything: bool = False) -> int:
        ids = live(machine)
        chosen = None if everything or not ids else chance.sample(ids, chance.randint(1, len(ids)))
        return machine.tune(ids=chosen, crash=crash)

    for n in range(RUNS // SHARES):
        step, boots = steps[n % len(steps)], n // len(steps) % 3 == 0
        (machine.state / "tune.jsonl").unlink(missing_ok=True)
        for _ in range(chance.randint(1, 2)):
            assert apply() == 0
        dies = {"a": apply, "u": undo}.get(step[0]) or chance.choice([apply, undo])
        code = undo(step, everything=boots) if dies is undo else apply(step)
        assert code in (0, -signal.SIGKILL)
        killed[step] += code != 0
        if boots:
            machine.boot()
            assert held(machine) == {**before, **kept(machine)}
        # Any next command sees what is so.
        assert machine.tune({}) == 0
        assert said(machine, before) == (held(machine), kept(machine))
        if not boots:
            assert chance.choice([apply, undo])() == 0
        assert machine.tune() == 0
        assert (held(machine), machine.files()) == (before, files), (n, step)
        assert live(machine) == []
    assert sum(killed.values()) > RUNS // SHARES // 2, killed
    assert all(killed.values()), killed


@pytest.mark.parametrize("step", ["file.new", "file.replaced"])
def test_the_command_itself_is_killed(machine: Machine, step: str) -> None:
    before, files = held(machine), machine.files()
    words = ("tune", "apply", "--yes", "--persist", "--set", "tcp_synack_retries=1")
    assert machine.halfopen(*words, dies_at=step).returncode == -signal.SIGKILL
    assert len(machine.files()) == len(files) + 1
    done = machine.halfopen("tune", "undo", "--all", "--json")
    states = [c["state"] for c in json.loads(done.stdout)["changes"]]
    assert states == ["undone", "refused" if step == "file.new" else "undone"]
    assert (held(machine), machine.files()) == (before, files)
