"""Releasing at its hardest: under a flood that has the same core, and a million at once, as whole commands.

Alone: python bench/flooded.py [SYNS_A_SECOND] [MILLION]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError, Inside, environment
from reading import PORT, backlog, halfopen_command, prepare
from still import Still, say

from halfopen.lab import Lab, LabListener

OLDER_THAN_S: Final = 3.0
WATCH_S: Final = 10.0
_WATCH_OLDER_THAN_S: Final = 2.0
_RETRIES: Final = 3
_BACKLOG: Final = 2_000_000
_RELEASE_US: Final = 3.0


@dataclass(slots=True)
class Release:
    """seconds: of the release as it reports them; process_s, cpu_s: of the whole command."""

    released: int
    left: int
    seconds: float
    process_s: float
    cpu_s: float
    held: bool = True


@dataclass(slots=True)
class Flooded:
    """Releases while `rate` SYNs a second came in on their core, of which it took `took` in; readings of a watch that
    releases, in `watch_s`.
    """

    rate: int
    took: float = 0.0
    watch_s: float = WATCH_S
    readings: int = 0
    watch_released: int = 0
    runs: list[Release] = field(default_factory=list)

    def per_s(self) -> float:
        """The median, by the release's own seconds. Raises: StatisticsError without any."""
        return statistics.median(run.released / run.seconds for run in self.runs)


@dataclass(slots=True)
class Whole:
    """Whole processes that release so many still ones."""

    half_open: int
    runs: list[Release] = field(default_factory=list)

    def per_s(self) -> float:
        """The median, by the seconds of the process. Raises: StatisticsError without any."""
        return statistics.median(run.released / run.process_s for run in self.runs)


def _release(inside: Inside, words: list[str]) -> Release:
    answer = inside.run([*halfopen_command(), "release", *words, "--yes", "--json"], read=True)
    document: dict[str, Any] = json.loads(answer["head"])
    [there] = document["namespaces"]
    times = there["seconds"], answer["seconds"], answer["cpu_s"]
    return Release(there["released"], there["left"], *times, held=there["held"])


def flood(
    rate: int, rounds: int, audit_log: str, lead_s: float = 2 * OLDER_THAN_S, watch_s: float = WATCH_S
) -> Flooded:
    """Raises: BenchError, HalfopenError."""
    say(f"releasing under {rate:,} SYNs a second on the same core")
    result = Flooded(rate, watch_s=watch_s)
    cpu = min(os.sched_getaffinity(0))
    with Lab() as lab:
        lab.server.set_sysctl("net.ipv4.tcp_synack_retries", _RETRIES)
        web = lab.server.listen(PORT, backlog=_BACKLOG)
        inside = Inside(lab, audit_log)
        inside.pin(cpu)
        with _flooding(lab, web, rate, rounds * lead_s * 4 + watch_s + 30, cpu, result):
            for _ in range(rounds):
                time.sleep(lead_s)
                result.runs.append(_release(inside, ["--older-than", f"{OLDER_THAN_S:g}s"]))
            _watch(lab, cpu, audit_log, result)
        while lab.server.half_open():
            _release(inside, ["--all"])
    return result


@contextmanager
def _flooding(lab: Lab, web: LabListener, rate: int, most_s: float, cpu: int, result: Flooded) -> Iterator[None]:
    """The flood goes on, from a thread on that CPU, which thereby takes its packets in as well."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        running = lab.client.flood(web, rate, most_s)
    finally:
        os.sched_setaffinity(0, allowed)
    begun = time.monotonic()
    try:
        yield
    finally:
        result.took = running.stop() / (time.monotonic() - begun)


def _watch(lab: Lab, cpu: int, audit_log: str, result: Flooded) -> None:
    words = ["watch", "--json", "--for", f"{result.watch_s:g}s", "--release-older-than", f"{_WATCH_OLDER_THAN_S:g}s"]
    env = {**environment(), "HALFOPEN_AUDIT_LOG": audit_log}
    process = lab.server.spawn([*halfopen_command(), *words], stdout=subprocess.PIPE, env=env)
    try:
        os.sched_setaffinity(process.pid, {cpu})
        out, _ = process.communicate(timeout=10 * result.watch_s + 60)
    finally:
        lab.server.end(process)
    if process.returncode:
        raise BenchError(f"the watch ended with {process.returncode}")
    for line in out.splitlines():
        told = json.loads(line)
        if told["event"] == "end":
            result.readings = told["readings"]
        elif told["event"] == "released":
            result.watch_released += told["released"]


def whole(n: int, rounds: int, audit_log: str) -> Whole:
    """Raises: BenchError, HalfopenError."""
    say(f"releasing {n:,} half-open connections by one command")
    result = Whole(n)
    for _ in range(rounds):
        with Lab() as lab:
            prepare(lab)
            inside = Inside(lab, audit_log)
            web = lab.server.listen(PORT, backlog=backlog(n))
            Still(lab, web, n).wait(0.5 + n * _RELEASE_US * 1e-6)
            run = _release(inside, ["--all"])
            if run.released != n or lab.server.half_open():
                raise BenchError(f"{run.released:,} of {n:,} were released: no figures")
            result.runs.append(run)
    return result


def flood_lines(result: Flooded) -> list[str]:
    """The table of `flood`."""
    lines = [
        f"Under a flood on the same core: {result.took:,.0f} of {result.rate:,} SYNs a second came in",
        _LINE.format("", "released", "left", "seconds", "process s", "cpu s", "a second"),
    ]
    name = f"halfopen release --older-than {OLDER_THAN_S:g}s"
    lines += [_line(name, run, run.seconds) for run in result.runs]
    lines.append(
        f"  halfopen watch --release-older-than {_WATCH_OLDER_THAN_S:g}s --for {result.watch_s:g}s: "
        f"{result.readings} readings, {result.watch_released:,} released"
    )
    return lines


def whole_lines(result: Whole) -> list[str]:
    """The table of `whole`."""
    lines = [
        f"Releasing {result.half_open:,} by one command, the door held",
        _LINE.format("", "released", "left", "seconds", "process s", "cpu s", "a second"),
    ]
    return lines + [_line("halfopen release --all (process)", run, run.process_s) for run in result.runs]


_LINE: Final = "  {:<36}{:>11}{:>8}{:>9}{:>11}{:>8}{:>11}"


def _line(name: str, run: Release, by_s: float) -> str:
    seconds = (f"{s:.2f}" for s in (run.seconds, run.process_s, run.cpu_s))
    name += "" if run.held else ", not held"
    return _LINE.format(name, f"{run.released:,}", f"{run.left:,}", *seconds, f"{run.released / by_s:,.0f}")


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    given = [*numbers, *(50_000, 1_000_000)[len(numbers) :]]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place:
        log = os.path.join(place, "audit.jsonl")
        if given[0]:
            print("\n".join(flood_lines(flood(given[0], 3, log))))
        if given[1]:
            print("\n".join(whole_lines(whole(given[1], 3, log))))
