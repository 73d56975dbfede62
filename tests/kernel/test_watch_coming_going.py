"""A watch over all namespaces while they come and go: it says nothing of that, and keeps nothing of those that went."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from halfopen.core.errors import UnknownTarget
from halfopen.core.filters import Filter
from halfopen.core.policy.actions import Release
from halfopen.core.policy.alarms import Alarm, Clear
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Decided, Reading, Report, Round, Trouble
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, current, resolve
from halfopen.ops.executor import Executor
from halfopen.ops.release.release import execute
from halfopen.ops.watch.loop import Watch
from halfopen.present.metrics import Metrics
from halfopen.present.watchlines import TextLines
from halfopen.read import discover, reader
from peers import until
from run import Begun, begin

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

    def found() -> discover.Discovered:
        everything = find()
        everything.namespaces = [ns for ns in everything.namespaces if ns.inode in inodes]
        return everything

    monkeypatch.setattr("halfopen.ops.watch.loop.discover", found)
    return inodes


def everywhere(count: int, interval_s: float = 0.05) -> Watch:
    return Watch(Policy(), Executor(), interval_s, everywhere=True, count=count)


def of(reports: list[Report], kind: type) -> list[Report]:
    return [r for r in reports if isinstance(r, kind)]


def test_namespaces_that_live_for_a_moment_are_no_trouble_and_leave_nothing(
    mine: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = everywhere(13)
    text, metrics, reports = TextLines(False, several=True), Metrics(), []
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
    own = identify(None)
    assert set(watch._turns.known) == {own.inode}
    assert watch._troubled == {}
    assert set(watch._turns.state.of) == set(text._last) == set(metrics._of) == {own}


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
    watch = everywhere(12, 0.4)  # what arrives is known after two seconds
    for report in watch.run():
        if isinstance(report, Reading):
            metrics.reading(report.model)
        elif isinstance(report, Decided):
            said.append(report.action)
            metrics.alarm(report.action)
        elif isinstance(report, Round):
            metrics.round(report.watched, report.troubled)
            if watch.done == 7:
                lab.server.end(two[0])
            if watch.done == 10:
                lines = metrics.text().whole.decode().splitlines()
                [alarmed] = [x for x in lines if x.startswith("halfopen_alarms{") and x.endswith(" 1.0")]
                assert f"pid:{two[0].pid}" not in alarmed
                mine.discard(lab.server.inode)  # as if it had gone
    said = [action for action in said if isinstance(action, Alarm | Clear)]
    assert [type(action) for action in said] == [Alarm, Clear]
    assert isinstance(said[1], Clear)
    assert (said[1].half_open, said[1].gone) == (0, "namespace")
    assert said[1].where.name == f"pid:{two[1].pid}"
    assert 'halfopen_alarms{netns="self"} 0.0' in metrics.text().whole.decode()
    assert set(watch._turns.state.of) == {identify(None)}


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


def test_another_namespace_with_the_inode_of_one_that_is_gone_is_read_anew(
    mine: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives inodes of namespaces out again; here the second reading is made to be of such a one."""
    read = reader.read
    readings = 0

    def reused(*arguments: object, **options: object) -> object:
        nonlocal readings
        readings += 1
        sample = read(*arguments, **options)  # type: ignore[arg-type]
        return sample if readings == 1 else replace(sample, where=replace(sample.where, cookie=1 << 60))

    monkeypatch.setattr(reader, "read", reused)
    watch = Watch(Policy(Sensitivity(minimum=1)), Executor(), 0.05, count=3)
    seen = [r for r in watch.run() if isinstance(r, Reading)]
    assert [r.model.rates is None for r in seen] == [True, True, False]
    assert [where.cookie for where in watch._turns.state.of] == [1 << 60]
    assert len(watch._turns.known) == 1


def test_a_release_of_one_namespace_is_refused_in_another(lab: Lab) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 5).settled()
    where = identify(resolve(lab.server.netns_path))
    action = Release(replace(where, cookie=1 << 60), Filter(), "test")
    with pytest.raises(UnknownTarget, match="replaced by another"):
        execute(action, resolve(lab.server.netns_path))
    assert lab.server.half_open() == 5


def test_an_alarm_of_the_one_namespace_that_is_watched_ends_when_it_goes(tmp_path: Path) -> None:
    from halfopen.lab import Lab

    link = tmp_path / "ns"
    with Lab() as first:
        link.symlink_to(first.server.netns_path)
        first.client.half_open(first.server.listen(8080), 60).settled()
        words = ("watch", "--netns", str(link), "--interval", "50ms", "--for", "20s", "--json")
        process = begin(*words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            before = _until(process, "alarm")
        except BaseException:
            process.kill()
            raise
    after = _until(process, "clear")
    process.terminate()
    process.communicate(timeout=60)
    assert [e["event"] for e in before if e["event"] == "alarm"] == ["alarm"]
    assert (after[-1]["gone"], after[-1]["netns"], after[-1]["peak"]) == (True, str(link), 60)


def _until(process: Begun, event: str) -> list[dict[str, Any]]:
    """What the watch says, up to the first such event."""
    assert process.stdout is not None
    said: list[dict[str, Any]] = []
    for line in process.stdout:
        said.append(json.loads(line))
        if said[-1]["event"] == event:
            return said
    raise AssertionError(f"no {event}: {said}")
