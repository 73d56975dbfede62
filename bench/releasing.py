"""Releasing: the product and `ss -K` drop as many half-open connections, with honest clients there and coming in."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from inside import BenchError, Inside
from machine import Others
from reading import PORT, backlog, prepare
from still import Still, say

from halfopen.core.errors import HalfopenError
from halfopen.lab import Honest, Lab, LabListener

SS_KILL: Final = ["ss", "-HntK", "state", "syn-recv"]
HONEST_BEFORE: Final = 100
# Clients that come during the release: so many every so often, a few percent of one core.
_COME: Final = 5
_EVERY_S: Final = 0.02
_OURS_US: Final = 6.0
_TABLE_US: Final = 12.0
_SS_US: Final = 20.0


@dataclass(slots=True)
class Run:
    """One release: seconds of the whole call, how many were released and left.

    before, during: honest clients connected before it and while it ran; *_alive: those that answered afterwards.
    resets, window_ms: as the product reports them, None for others.
    disturbed: by other processes of the machine.
    """

    seconds: float
    released: int
    left: int
    before: int
    before_alive: int
    during: int
    during_alive: int
    resets: int | None = None
    window_ms: float | None = None
    disturbed: bool = False

    @property
    def per_s(self) -> float:
        return self.released / self.seconds

    @property
    def honest_lost(self) -> int:
        return self.before - self.before_alive + self.during - self.during_alive


@dataclass(slots=True)
class Releasing:
    """All runs at `half_open` connections in turns: ours with the door held by eBPF (ours), by nf_tables (table) and
    by nobody (narrow), and `ss -K`'s.

    ss_missing: why there are none of those.
    """

    half_open: int
    ours: list[Run] = field(default_factory=list)
    table: list[Run] = field(default_factory=list)
    narrow: list[Run] = field(default_factory=list)
    ss: list[Run] = field(default_factory=list)
    ss_missing: str = ""

    def per_s(self, runs: list[Run]) -> float:
        """The median. Raises: StatisticsError without any."""
        return statistics.median(run.per_s for run in runs)

    def windows_ms(self) -> list[float]:
        return [run.window_ms for run in self.narrow if run.window_ms is not None]


def measure(n: int, rounds: int, audit_log: str) -> Releasing:
    """Release `n` half-open connections `rounds` times with each, in turns. Raises: BenchError."""
    say(f"releasing {n:,} half-open connections")
    result = Releasing(n)
    for _ in range(rounds):
        result.ours.append(_undisturbed(n, audit_log, "release", _OURS_US))
        result.table.append(_undisturbed(n, audit_log, "release_table", _TABLE_US))
        result.narrow.append(_undisturbed(n, audit_log, "release_narrow", _OURS_US))
        if result.ss_missing:
            continue
        run = _undisturbed(n, audit_log, "", _SS_US)
        if not run.released:
            result.ss_missing = "it released nothing"
        else:
            result.ss.append(run)
    return result


def _undisturbed(n: int, audit_log: str, worker: str, guess_us: float) -> Run:
    """One run, or another when other processes disturbed it. worker: that releases; empty: `ss -K`."""
    run = _once(n, audit_log, worker, guess_us)
    return _once(n, audit_log, worker, guess_us) if run.disturbed else run


def _once(n: int, audit_log: str, worker: str, guess_us: float) -> Run:
    with Lab() as lab:
        prepare(lab)
        inside = Inside(lab, audit_log)
        if worker:
            inside.missing(worker)  # started and warm before anything waits for it
        listener = lab.server.listen(PORT, backlog=backlog(n))
        before = lab.client.connect(listener, HONEST_BEFORE)
        still = Still(lab, listener, n)
        still.wait(0.2 + n * guess_us * 1e-6)
        if (there := lab.server.half_open()) != n:
            raise BenchError(f"there are {there:,} half-open connections, not {n:,}: no figures")
        with _coming(lab, listener) as during:
            others, used_s = Others(), time.process_time()
            answer = inside.call(worker) if worker else inside.run(SS_KILL)
            own_s = answer["cpu_s"] + time.process_time() - used_s
            disturbed = others.disturbed(answer["seconds"], own_s)
        left = lab.server.half_open()
        came = sum(len(one.sockets) for one in during)
        alive = sum(one.alive() for one in during)
        record = answer.get("record", {})
        run = Run(
            seconds=answer["seconds"],
            released=record.get("released", n - left),
            left=left,
            before=len(before.sockets),
            before_alive=before.alive(),
            during=came,
            during_alive=alive,
            resets=record.get("resets"),
            window_ms=record.get("window_ms"),
            disturbed=disturbed,
        )
        if left:
            inside.call("release")
        return run


@contextlib.contextmanager
def _coming(lab: Lab, listener: LabListener) -> Iterator[list[Honest]]:
    """Honest clients that connect for as long as the context lasts. Raises at its end: what went wrong."""
    came: list[Honest] = []
    failed: list[HalfopenError] = []
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.wait(_EVERY_S):
                came.append(lab.client.connect(listener, _COME))
        except HalfopenError as e:
            failed.append(e)

    thread = threading.Thread(target=work, name="bench-honest", daemon=True)
    thread.start()
    try:
        time.sleep(2 * _EVERY_S)
        yield came
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]
