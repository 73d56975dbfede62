"""A watch over all namespaces while they come and go: it says nothing of that, and keeps nothing of those that went."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from halfopen.core.policy.policy import Alarm, Clear, Policy
from halfopen.linux.netns import Netns, current
from halfopen.ops.executor import Executor
from halfopen.ops.watch.loop import Decided, Reading, Report, Round, Trouble, Watch
from halfopen.present.metrics import Metrics
from halfopen.present.watchlines import Text
from halfopen.read import discover, reader
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


class Inhabited:
    """A namespace that lives as long as a process in it."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "60"])
        until(lambda: self._inode() not in (0, current().inode))
        self.inode = self._inode()
        self.name = f"pid:{self.process.pid}"

    def _inode(self) -> int:
        try:
            return os.stat(f"/proc/{self.process.pid}/ns/net").st_ino
        except OSError:
            return 0

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes of this test's namespaces: the watch sees no others, which other tests may have on this machine."""
    inodes: set[int] = {current().inode}
    find = discover.discover

    def found() -> discover.Found:
        everything = find()
        everything.namespaces = [ns for ns in everything.namespaces if ns.inode in inodes]
        return everything

    monkeypatch.setattr("halfopen.ops.watch.loop.discover", found)
    return inodes


def everywhere(count: int) -> Watch:
    return Watch(Policy(), Executor(), 0.05, everywhere=True, count=count)


def of(reports: list[Report], kind: type) -> list[Report]:
    return [r for r in reports if isinstance(r, kind)]


def test_namespaces_that_live_for_a_moment_are_no_trouble_and_leave_nothing(
    mine: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = everywhere(13)
    text, metrics, reports = Text(False, several=True), Metrics(), []
    made: list[Inhabited] = []
    read = reader.read

    def vanishing(ns: Netns, *arguments: object, **options: object) -> object:
        # Every second one goes between being found and being read.
        if made and ns.name == made[-1].name and len(made) % 2:
            made[-1].end()
        return read(ns, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "read", vanishing)
    lines: list[str] = []
    for report in watch.run():
        reports.append(report)
        if isinstance(report, Reading):
            lines += text.reading(report.model)
            metrics.reading(report.model)
        if isinstance(report, Round):
            text.round(report.watched)
            metrics.round(report.watched, report.troubled)
            if watch.done % 2 and watch.done < 12:
                made.append(Inhabited())
                mine.add(made[-1].inode)
            else:
                made[-1].end()
    for one in made:
        one.end()
    assert len(made) == 6
    assert of(reports, Trouble) == []
    assert [line for line in lines if "[pid:" in line] == []
    for kept in (watch._state.of, watch._previous, watch._before, watch._whole_again_at):
        assert set(kept) <= {current().inode}
    assert watch._troubled == {}
    assert set(text._last) == set(metrics._of) == {"self"}
    assert set(metrics._names) <= {current().inode}


@pytest.fixture
def two(lab: Lab) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes in the lab's server, of which the first gives the namespace its name."""
    processes = [lab.server.spawn(["sleep", "60"]) for _ in range(2)]
    until(lambda: all(os.readlink(f"/proc/{p.pid}/ns/net") == f"net:[{lab.server.inode}]" for p in processes))
    yield processes
    for process in processes:
        lab.server.end(process)


def test_one_alarm_whichever_process_gives_the_name_and_an_end_when_the_namespace_goes(
    lab: Lab, mine: set[int], two: list[subprocess.Popen[str]]
) -> None:
    mine.add(lab.server.inode)
    web = lab.server.listen(8080)
    lab.client.half_open(web, 60).settled()
    metrics, said = Metrics(), []
    watch = everywhere(9)
    for report in watch.run():
        if isinstance(report, Reading):
            metrics.reading(report.model)
        elif isinstance(report, Decided):
            said.append(report.action)
            metrics.alarm(report.model.sample.where.name, isinstance(report.action, Alarm))
        elif isinstance(report, Round):
            metrics.round(report.watched, report.troubled)
            if watch.done == 3:
                lab.server.end(two[0])
            if watch.done == 6:
                [alarmed] = [line for line in metrics.text().decode().splitlines() if line.startswith("halfopen_alarm{")
                             and line.endswith(" 1.0")]  # fmt: skip
                assert f"pid:{two[0].pid}" not in alarmed
                mine.discard(lab.server.inode)  # as if it had gone
    assert [type(action) for action in said] == [Alarm, Clear]
    assert said[1].half_open == 0
    assert 'halfopen_alarm{netns="self"} 0.0' in metrics.text().decode()
    assert set(watch._state.of) == {current().inode}


def test_the_command_is_silent_about_them() -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            subprocess.run(["unshare", "--net", "true"], check=True)

    from run import halfopen

    busy = threading.Thread(target=come_and_go)
    busy.start()
    try:
        done = halfopen("watch", "--netns", "all", "--interval", "50ms", "--count", "15", "--json")
    finally:
        stop.set()
        busy.join()
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e for e in events if e["event"] == "trouble" and e["id"] == "unknown-target"] == []
