"""What systemd is told of a service: it is ready after its first reading, and alive only while it does its work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Ended, Round
from halfopen.ops.executor import Executor
from halfopen.ops.watch.loop import Watch
from halfopen.service.running import RunningService
from rows import SELF

ROUND = Round(frozenset({SELF}), frozenset())


class World:
    """A service of which only the loop runs; sent: what systemd was told, a list of lines for each message."""

    def __init__(self, *, face: bool = True, control: bool = True, waits_s: float = 0.0) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.service: Any = RunningService(Watch(Policy(), Executor()), "0.1.0")
        self.service._notifier = SimpleNamespace(often_s=0.0, send=lambda *lines: self.sent.append(lines))
        self.service._control = SimpleNamespace(alive=control)
        outbox = SimpleNamespace(waits_s=lambda: waits_s)
        self.service._keeper = SimpleNamespace(alive=face, outbox=outbox, told=list, dropped=0)

    def take(self, *reports: Any) -> list[tuple[str, ...]]:
        self.sent.clear()
        for report in reports:
            self.service.take(report)
        return self.sent


def test_it_is_ready_after_its_first_reading_and_says_when_it_ends() -> None:
    world = World()
    assert world.take(Begun(1.0, Policy())) == [("STATUS=reading for the first time",)]
    [first] = world.take(ROUND)
    assert (first[0], first[-1]) == ("READY=1", "WATCHDOG=1")
    [second] = world.take(ROUND)
    assert second == ("STATUS=OK: 0 half-open connections", "WATCHDOG=1")
    assert world.take(Ended(2)) == [("STOPPING=1", "STATUS=ended after 2 readings")]


@pytest.mark.parametrize(
    "broken", [{"face": False}, {"control": False}, {"waits_s": 61.0}], ids=["no face", "no control", "not drained"]
)
def test_a_service_that_does_not_do_all_its_work_is_not_called_alive(broken: dict[str, Any]) -> None:
    world = World(**broken)
    [lines] = world.take(ROUND)
    assert "WATCHDOG=1" not in lines
    assert any(line.startswith("STATUS=") for line in lines)
