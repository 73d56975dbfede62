"""What a watch that runs for years meets: a clock that jumps, another time namespace, namespaces that come and go."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from halfopen.core.filters import Filter
from halfopen.core.policy.alarms import Alarm, Clear, Telling
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.release_policy import ReleasePolicy
from halfopen.core.policy.stages import Timing
from halfopen.core.reports import Decided, Did, Reading, Report, Round, Trouble
from halfopen.linux import netns
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.executor import Executor
from halfopen.ops.watch.loop import Watch
from halfopen.read import discover
from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def test_a_wall_clock_that_jumps_by_an_hour_changes_no_decision(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = lab.server.listen(8080, backlog=1024)
    real, jump_s = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + jump_s)
    lab.client.half_open(web, 90).settled()
    old = ReleasePolicy("old", Filter(older_than_s=1), budget_per_s=20)
    policy = Policy(Sensitivity(20, timing=Timing(clears_s=0.6)), (old,))
    watch = Watch(policy, Executor(str(tmp_path / "audit.jsonl")), 0.1, resolve(lab.server.netns_path), duration_s=20)
    said: list[Telling] = []
    released: list[tuple[float, int]] = []
    walls: list[float] = []
    for report in watch.run():
        if isinstance(report, Reading):
            walls.append(report.model.sample.wall_s)
        elif isinstance(report, Decided):
            said.append(report.action)
        elif isinstance(report, Did):
            released.append((time.monotonic(), report.outcome.released))
            # Forward at the first release, and back behind where it began at the second.
            jump_s = 3600.0 if len(released) == 1 else -3600.0
        assert not isinstance(report, Trouble), report
        if isinstance(report, Decided) and isinstance(report.action, Clear):
            watch.stop.set()
    assert [type(one) for one in said if isinstance(one, Alarm | Clear)] == [Alarm, Clear]
    assert len({one.incident for one in said}) == 1
    clear = said[-1]
    assert isinstance(clear, Clear)
    assert 0 < clear.lasted_s < 20
    assert sum(n for _, n in released) == 90
    # 20 at once and 20 a second: an hour forward refilled nothing more.
    assert released[-1][0] - released[0][0] >= 3
    assert max(walls) - min(walls) > 7000, "the jumps were real for whoever reads the wall clock"
    ids = [json.loads(line)["incidents"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {one for several in ids for one in several} == {clear.incident}


@pytest.mark.parametrize("offset_s", [3600, -3600])
def test_in_another_time_namespace_ages_are_right(lab: Lab, offset_s: int) -> None:
    """The kernel's times are those of the host, the process's are shifted (time_namespaces(7))."""
    if offset_s < 0 and time.clock_gettime(time.CLOCK_BOOTTIME) < 3700:
        offset_s = -60  # no clock below zero
    web = lab.server.listen(8080)
    lab.client.half_open(web, 5).settled()
    # Some versions of unshare take no offset below zero. The child is the first process there.
    offsets = f"monotonic {offset_s} 0\nboottime {offset_s} 0\n"
    enter = f"printf '{offsets}' > /proc/self/timens_offsets; \"$@\"; exit $?"
    shifted = ["unshare", "--time", "sh", "-c", enter, "sh"]
    words = ["watch", "--netns", lab.server.netns_path, "--interval", "100ms", "--count", "3", "--json"]
    done = subprocess.run(
        [*shifted, sys.executable, "-m", "halfopen", *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    readings = [e for e in map(json.loads, done.stdout.splitlines()) if e["event"] == "reading"]
    assert [e["half_open"] for e in readings] == [5, 5, 5]
    # Only the depths of the queues may be read when it is busy.
    ages = [e["oldest_s"] for e in readings if e["oldest_s"] is not None]
    assert ages
    assert all(0 <= age < 30 for age in ages)


@contextmanager
def _coming_and_going(inodes: set[int], per_s: float) -> Iterator[list[int]]:
    """Namespaces that live for a moment, their descriptors used again and again; how many there were so far."""
    made: list[int] = []
    stop = threading.Event()

    def work() -> None:
        held: list[int] = []
        while not stop.wait(1 / per_s):
            fd = netns.create()
            inodes.add(os.fstat(fd).st_ino)
            held.append(fd)
            made.append(fd)
            if len(held) > 5:
                os.close(held.pop(0))
        for fd in held:
            os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join()


def test_a_hundred_namespaces_a_second_are_no_trouble_and_leave_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes, find = {lab.server.inode}, discover.discover

    def found() -> discover.Discovered:
        everything = find()
        everything.namespaces = [ns for ns in everything.namespaces if ns.inode in inodes]
        return everything

    monkeypatch.setattr("halfopen.ops.watch.loop.discover", found)
    web = lab.server.listen(8080)
    lab.client.half_open(web, 7).settled()
    watch = Watch(Policy(), Executor(), 0.1, everywhere=True, duration_s=4)
    reports: list[Report] = []
    stable: list[int] = []
    rounds: list[float] = []
    with _coming_and_going(inodes, 100) as made:
        files = len(os.listdir("/proc/self/fd"))
        for report in watch.run():
            reports.append(report)
            if isinstance(report, Reading) and report.model.sample.where.inode == lab.server.inode:
                stable.append(report.model.half_open)
            elif isinstance(report, Round):
                rounds.append(time.monotonic())
    assert len(made) > 20, "they did come and go"
    assert [r for r in reports if isinstance(r, Trouble)] == []
    assert set(stable) == {7}
    # A path may lead elsewhere by the time it is entered, and the round has done without that namespace then.
    assert len(stable) >= 0.8 * len(rounds)
    assert statistics.median(after - before for before, after in pairwise(rounds)) < 5.0
    # Those that went are forgotten at the next look.
    last = {where.inode for where in [r for r in reports if isinstance(r, Round)][-1].watched}
    assert set(watch._turns.known) <= last
    assert {where.inode for where in watch._turns.state.of} <= last
    assert identify(resolve(lab.server.netns_path)) in watch._turns.state.of
    # The eBPF programs stay loaded; of the namespaces, which were many more, nothing is held.
    assert len(os.listdir("/proc/self/fd")) <= files + 25
    assert threading.active_count() < 20


def test_of_many_namespaces_those_in_which_nothing_listens_or_happens_are_read_seldom(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes, find = {lab.server.inode}, discover.discover
    held = [netns.create() for _ in range(20)]
    inodes |= {os.fstat(fd).st_ino for fd in held}

    def found() -> discover.Discovered:
        everything = find()
        everything.namespaces = [ns for ns in everything.namespaces if ns.inode in inodes]
        return everything

    monkeypatch.setattr("halfopen.ops.watch.loop.discover", found)
    web = lab.server.listen(8080)
    watch = Watch(Policy(), Executor(), 0.1, everywhere=True)
    rounds, read, came = [], [], None
    for report in watch.run():
        if isinstance(report, Reading):
            read.append(report.model.sample.where.inode)
            if report.model.half_open:
                watch.stop.set()
        elif isinstance(report, Round):
            rounds.append(report)
            if came is not None:
                assert len(rounds) <= came + 20, "what happens is seen in the next rounds"
            elif len(rounds) == 10:
                assert read.count(lab.server.inode) < 6, "nothing happens there"
                assert len(read) < 3 * len(inodes)
                lab.client.half_open(web, 1)
                came = len(rounds)
    for fd in held:
        os.close(fd)
    assert read[-1] == lab.server.inode
    assert len(rounds[-1].watched) == 21, "they are watched all the same"


@pytest.mark.slow
def test_of_five_hundred_namespaces_the_one_that_is_flooded_is_named_and_the_cost_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = discover.discover
    held = [netns.create() for _ in range(500)]
    inodes = {lab.server.inode, *(os.fstat(fd).st_ino for fd in held)}

    def found() -> discover.Discovered:
        everything = find()
        everything.namespaces = [ns for ns in everything.namespaces if ns.inode in inodes]
        return everything

    monkeypatch.setattr("halfopen.ops.watch.loop.discover", found)
    web = lab.server.listen(8080, backlog=1024)
    watch = Watch(Policy(), Executor(), 0.25, everywhere=True, max_cpu=0.02, duration_s=60)
    told: list[Telling] = []
    rounds, costs, flooded = [], [], False
    for report in watch.run():
        if isinstance(report, Decided):
            told.append(report.action)
            if isinstance(report.action, Alarm):
                watch.stop.set()
        elif isinstance(report, Trouble):
            costs.append(report.error.message)
        elif isinstance(report, Round):
            rounds.append(report)
            if len(rounds) >= 3 and not flooded and costs:
                lab.client.half_open(web, 300)
                flooded = True
    for fd in held:
        os.close(fd)
    assert {len(one.watched) for one in rounds} == {501}
    assert {one.where.inode for one in told} == {lab.server.inode}, "nothing is said of the others"
    assert isinstance(told[-1], Alarm)
    assert told[-1].listener is not None
    assert told[-1].listener[2] == 8080
    assert len({one.incident for one in told}) == 1
    # Discovering and reading that many takes more than two hundredths of a quarter second: it is said, and kept within.
    assert "of processor time: readings are" in costs[0]
    assert watch.spacing.average_s > 0
