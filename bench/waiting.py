"""How long others wait for their CPU: a real-time process on the same one, woken every half millisecond, says.

A kernel without preemption (or code that forbids it) keeps the CPU from whoever is woken, however urgent. Alone:
python bench/waiting.py [CONNECTIONS] [SECONDS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

if __name__ == "__main__":
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError, Inside
from machine import real_time_refused
from reading import PORT, SS
from still import RETRIES, say

from halfopen.lab import Lab

NOBODY: Final = "nobody: the CPU sleeps"
WORKERS: Final = {
    "floor": "floor: the dump, received and thrown away",
    "bytes_of_census": "the eBPF census, read and thrown away",
    "bytes_of_iterator": "the same by the iterator, thrown away",
    "snapshot": "halfopen.snapshot(rows=False)",
    "snapshot_diag": "the same by sock_diag alone",
}
RELEASE: Final = {
    "release": "halfopen.release(all=True), door held",
    "release_narrow": "the same through the narrow window",
}
# Says, once told to end, by how much each of its sleeps was too long.
_PROBE: Final = """
import ctypes, json, os, select, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: one nanosecond
late = []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    begun = time.perf_counter()
    time.sleep(0.0005)
    late.append(time.perf_counter() - begun - 0.0005)
print(json.dumps(late), flush=True)
"""


@dataclass(slots=True)
class Waiting:
    """By who was at work: by how many seconds the other was woken late, each time; or why that is missing."""

    half_open: int
    late_s: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def measure(half_open: int, seconds: float, audit_log: str) -> Waiting:
    """Raises: BenchError, HalfopenError."""
    say(f"who waits for the CPU beside readings of {half_open:,}")
    result = Waiting(half_open)
    refused = real_time_refused()
    if refused:
        result.missing[NOBODY] = refused
        return result
    cpu = max(os.sched_getaffinity(0))
    with Lab() as lab:
        lab.server.set_sysctl("net.ipv4.tcp_synack_retries", RETRIES)
        web = lab.server.listen(PORT, backlog=2 * half_open)
        inside = Inside(lab, audit_log)
        lab.client.half_open(web, half_open)
        lab.settle(half_open, timeout=60)
        inside.pin(cpu)
        result.late_s[NOBODY] = _late(cpu, seconds, None)
        for name, label in WORKERS.items():
            _worker(result, inside, name, label, cpu, lambda name=name: _late(cpu, seconds, lambda: inside.call(name)))
        result.late_s["ss -Hnt state syn-recv (process)"] = _late(cpu, seconds, lambda: inside.run(SS))
        for name, label in RELEASE.items():
            lab.client.half_open(web, half_open - lab.server.half_open())
            lab.settle(half_open, timeout=60)
            _worker(result, inside, name, label, cpu, lambda name=name: _late(cpu, 0, lambda: inside.call(name)))
    return result


def _worker(result: Waiting, inside: Inside, name: str, label: str, cpu: int, work: Callable[[], list[float]]) -> None:
    why = inside.missing(name)
    if why:
        result.missing[label] = why
        return
    inside.pin(cpu, name)
    result.late_s[label] = work()
    inside.end(name)


def _late(cpu: int, seconds: float, call: Callable[[], object] | None) -> list[float]:
    """While `call` is made again and again for so long, and once at least."""
    probe = subprocess.Popen(
        [sys.executable, "-c", _PROBE, str(cpu)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        if probe.stdin is None or probe.stdout is None or probe.stdout.readline() != "ready\n":
            raise BenchError("the real-time process did not start")
        end = time.monotonic() + seconds
        while call is not None:
            call()
            if time.monotonic() >= end:
                break
        time.sleep(max(0.01, end - time.monotonic()))
        late: list[float] = json.loads(probe.communicate("\n", timeout=30)[0])
        return late
    finally:
        probe.kill()
        probe.wait()


_LINE: Final = "  {:<41}{:>9}{:>9}{:>9}{:>10}"


def as_lines(result: Waiting) -> list[str]:
    """The table."""
    lines = [
        f"Who works on the same CPU: a real-time process is woken late, {result.half_open:,} half-open (microseconds)",
        _LINE.format("", "median", "99 %", "99.9 %", "wakings"),
    ]
    for label, late in result.late_s.items():
        cuts = statistics.quantiles(late, n=1000)
        lines.append(_LINE.format(label, *(f"{cuts[at] * 1e6:,.0f}" for at in (499, 989, 998)), f"{len(late):,}"))
    return lines + [f"  {label:<41}  {why}" for label, why in result.missing.items()]


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory:
        given = [*numbers, *(100_000, 4)[len(numbers) :]]
        print("\n".join(as_lines(measure(given[0], given[1], os.path.join(directory, "audit.jsonl")))))
