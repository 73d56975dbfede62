"""A watch counts open and closing connections where there are many, and keeps a leak as an incident."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from closing_ends import Ends
from halfopen.core.policy.alarms import Clear
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.policy import Policy
from halfopen.core.policy.stages import Timing
from halfopen.core.reports import Decided, Reading
from halfopen.core.sample.closing import ESTABLISHED
from halfopen.core.where import Namespace
from halfopen.linux.netns import resolve
from halfopen.ops.executor import Executor
from halfopen.ops.watch.connections import ConnectionLooks
from halfopen.ops.watch.history import make
from halfopen.ops.watch.loop import Watch
from halfopen.ops.watch.notices import Notices
from halfopen.present.metrics import Metrics
from halfopen.present.watchjson import JsonLines
from halfopen.present.watchlines import TextLines
from halfopen.store.database import HistoryPlace
from halfopen.store.reader import History, HistoryWanted

if TYPE_CHECKING:
    from pathlib import Path

    from halfopen.lab import Lab


pytestmark = pytest.mark.root
QUICK = Policy(Sensitivity(timing=Timing(clears_s=0.05)))


def test_a_watch_counts_them_where_there_are_many(lab: Lab, ends: Ends) -> None:
    from halfopen.core.sample.closing import SocketCounts
    from halfopen.read import head
    from halfopen.read.closing_counts import SocketCounter

    counter = SocketCounter()

    for _ in range(10):
        ends.pair()
    few = lab.server.run(lambda: counter.probe(1).read(head.begin("auto")))
    assert few is None
    for _ in range(20):
        ends.pair()
    assert lab.server.run(lambda: counter.probe(1).read(head.begin("auto"))) is None  # looked at again after a while
    counter = SocketCounter()
    many = lab.server.run(lambda: counter.probe(1).read(head.begin("auto")))
    assert isinstance(many, SocketCounts)
    assert many.of(ESTABLISHED) == 60
    ends.pair()
    # Counted again only after a while.
    assert lab.server.run(lambda: counter.probe(1).read(head.begin("auto"))) is many


def test_a_watch_tells_of_a_leak_and_keeps_it_as_an_incident(lab: Lab, ends: Ends, tmp_path: Path) -> None:
    history, metrics, lines, notices = make(f"{tmp_path}/kept/", None, "test"), Metrics(), JsonLines(), []
    told = Notices(notices.append)
    watch = Watch(QUICK, Executor(dry_run=True), 0.02, resolve(lab.server.netns_path), duration_s=60)
    watch.connections = ConnectionLooks(0.05, 1.0)
    held: list[socket.socket] = []
    events: list[dict[str, Any]] = []
    for report in watch.run():
        for sink in (history, told):
            sink.take(report)
        if isinstance(report, Decided):
            events += [json.loads(line) for line in lines.lines(report)]
            metrics.alarm(report.action)
            if isinstance(report.action, Clear):
                lines = "".join(TextLines(colour=False).lines(report))
                assert "connections are closed and opened as usual again" in lines
                watch.stop.set()
        elif isinstance(report, Reading):
            metrics.reading(report.model, report.verdict)
            if not events:  # one more that its server closes and that nobody looks at
                for _ in range(5):
                    client, server = ends.pair()
                    server.close()
                    held.append(client)
            elif held:
                [one] = report.incidents
                assert one.peak.connections >= 50
                text = metrics.text().whole.decode()
                assert "halfopen_finding{" in text
                assert 'cause="close-wait-leak"} 1' in text
                while held:
                    held.pop().close()
    alarm, clear = events
    assert (alarm["event"], alarm["because"], alarm["cause"]) == ("alarm", "connections", "close-wait-leak")
    assert (alarm["half_open"], alarm["port"]) == (0, None)
    assert alarm["connections"] >= 50
    assert alarm["next"][0].startswith("halfopen closing list --process")
    assert (clear["event"], clear["incident"]) == ("clear", alarm["incident"])
    assert (notices[0].state.value, notices[-1].state.value) == ("firing", "resolved")
    assert "leak" in notices[0].summary
    with History(HistoryPlace.of(f"{tmp_path}/kept/")) as kept:
        [incident] = kept.incidents(HistoryWanted(0, time.time() + 1))
    assert (incident.id, incident.cause, incident.over) == (alarm["incident"], "close-wait-leak", True)
    assert not os.listdir(f"{tmp_path}/kept/incidents")


def test_a_restarted_watch_goes_on_with_the_incident(lab: Lab, ends: Ends) -> None:
    def watch(earlier: dict[Namespace, tuple[Incident, ...]]) -> tuple[Watch, ConnectionLooks]:
        looks = ConnectionLooks(0.05, 1.0)
        ns = resolve(lab.server.netns_path)
        return Watch(QUICK, Executor(dry_run=True), 0.02, ns, duration_s=60, connections=looks, earlier=earlier), looks

    held: list[socket.socket] = []

    def leak() -> None:
        for _ in range(5):
            client, server = ends.pair()
            server.close()
            held.append(client)

    first, _ = watch({})
    begun: list[Incident] = []
    for report in first.run():
        if isinstance(report, Decided) and report.incident is not None:
            begun.append(report.incident)
            first.stop.set()
        elif isinstance(report, Reading):
            leak()
    [one] = begun
    second, looks = watch({one.where: (one,)})
    told = []
    for report in second.run():
        if isinstance(report, Decided):
            told.append(report.action)
            second.stop.set()
        elif isinstance(report, Reading) and looks.settled(one.where.inode) and looks.of(one.where.inode).alarming:
            while held:
                held.pop().close()
        elif isinstance(report, Reading) and held:
            leak()
    [clear] = told
    assert isinstance(clear, Clear)
    assert (clear.incident, clear.cause) == (one.id, "close-wait-leak")
