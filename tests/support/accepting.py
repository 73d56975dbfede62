"""What a rule about programs that do not accept is shown: a full queue, and the process that should drain it."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import Verdict
from halfopen.core.sample import Process
from halfopen.core.sample.workers import WorkerState
from rows import listener
from verdicts import second_look

WAITING = WorkerState(7, 1, "S", ("ep_poll",), descriptors=20, descriptor_limit=1024)
ASLEEP = replace(WAITING, waits_in=("hrtimer_nanosleep",))
CGROUP = "/sys/fs/cgroup/system.slice/web.service"


def judged_by(
    before: list[WorkerState], now: list[WorkerState], held: int = 129, **values: Any
) -> tuple[Verdict, list[str]]:
    """The verdict on two looks at the processes of a listener, and the ids of its findings."""
    names = values.pop("names", {one.pid: "web" for one in now})
    owners = {1: tuple(Process(pid, name, values.get("unit")) for pid, name in names.items())}
    values.pop("unit", None)
    full = listener(accept_queue=held, limit=128, cookie=5)
    return second_look([], full, owners=owners, workers=(before, now), **values)


def found_by(before: WorkerState, now: WorkerState | None = None, **values: Any) -> tuple[Finding, Verdict]:
    """The finding about one process that does not accept, and the verdict. Raises: AssertionError."""
    verdict, ids = judged_by([before], [now or before], **values)
    assert ids[0] == "app-not-accepting"
    return verdict.findings[0], verdict
