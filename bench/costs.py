"""What is paid beside what is no business of ours: a million open files, hundreds of namespaces, idle listeners.

Alone: python bench/costs.py [DESCRIPTORS] [NAMESPACES] [SECONDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

if __name__ == "__main__":
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError, Inside, environment
from reading import PORT, halfopen_command
from still import say

from halfopen.lab import Lab
from halfopen.linux import netns

_FIRST_PORT: Final = 20_000
_WARM_S: Final = 5.0
STATUS: Final = "halfopen status"
WATCH: Final = "watch"
_ROUNDS: Final = 8
LIST: Final = "halfopen list --limit 1"
DRY_RUN: Final = "halfopen release --all --dry-run"
WITHOUT: Final = "halfopen status, without that eBPF program"
TUNE: Final = f"halfopen tune listener :{PORT}"
# Opens as many as it may, at most so many, half of them sockets; says how many, and ends with its input.
_HOLDER: Final = """
import os, resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
files = os.open(os.devnull, os.O_RDONLY), socket.socket().detach()
count = len(files)
try:
    while count < int(sys.argv[1]):
        os.dup(files[count % 2])
        count += 1
except OSError:
    pass
print(count, flush=True)
sys.stdin.read()
"""


@dataclass(slots=True)
class Timed:
    """Runs of whole processes in seconds, by what was run, beside so many of what they should not care for."""

    beside: int
    runs_s: dict[str, list[float]] = field(default_factory=dict)

    def median_s(self, name: str) -> float:
        """Raises: KeyError, StatisticsError without any run."""
        return statistics.median(self.runs_s[name])


@dataclass(slots=True)
class Idle:
    """The share of a core that a watch used over `seconds`: by number of listeners, and whether it kept metrics."""

    seconds: float
    shares: list[tuple[int, bool, float]] = field(default_factory=list)


@contextmanager
def _holders(lab: Lab, wanted: int) -> Iterator[int]:
    """Processes that together have so many files open; how many there are."""
    started: list[subprocess.Popen[str]] = []
    total = 0
    try:
        while total < wanted:
            argv = [sys.executable, "-I", "-S", "-c", _HOLDER, str(wanted - total)]
            one = lab.server.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            started.append(one)
            assert one.stdout is not None
            count = int(one.stdout.readline() or 0)
            if count < 100:
                raise BenchError("a process could not open its files")
            total += count
        yield total
    finally:
        for one in started:
            lab.server.end(one)


def owners(descriptors: int, rounds: int, audit_log: str) -> Timed:
    """Raises: BenchError when status does not name the listener's process, HalfopenError."""
    say(f"who listens, beside {descriptors:,} open files of others")
    ours = halfopen_command()
    commands = {
        STATUS: [*ours, "status"],
        LIST: [*ours, "list", "--limit", "1"],
        DRY_RUN: [*ours, "release", "--all", "--dry-run"],
        TUNE: [*ours, "tune", "listener", f":{PORT}"],
        WITHOUT: ["env", "HALFOPEN_REFUSE_BPF=owners", *ours, "status"],
    }
    with Lab() as lab:
        lab.server.listen(PORT)
        inside = Inside(lab, audit_log)
        with _holders(lab, descriptors) as total:
            result = Timed(total)
            for turn in range(rounds + 1):
                for name, argv in commands.items():
                    seconds = inside.run(argv)["seconds"]
                    if turn:  # the first is for the caches
                        result.runs_s.setdefault(name, []).append(seconds)
            if not inside.run(commands[STATUS], read=True, holding=f" {os.getpid()}")["count"]:
                raise BenchError("status does not name who listens: no figures")
    return result


def namespaces(count: int, rounds: int, audit_log: str) -> Timed:
    """Raises: BenchError when status does not show them, HalfopenError."""
    say(f"{count:,} empty namespaces")
    argv = [*halfopen_command(), "status", "--netns", "all"]
    held: list[int] = []
    try:
        with Lab() as lab:
            held += [netns.create() for _ in range(count)]
            inside = Inside(lab, audit_log)
            shown = inside.run([*argv, "--json"], read=True, holding='"netns_inode"')["count"]
            if shown < count:
                raise BenchError(f"status shows {shown:,} of {count:,} namespaces: no figures")
            result = Timed(count)
            result.runs_s[STATUS] = [inside.run(argv)["seconds"] for _ in range(rounds)]
            result.runs_s[WATCH] = [_of_a_round() for _ in range(rounds)]
            return result
    finally:
        for fd in held:
            os.close(fd)


def _of_a_round() -> float:
    """The processor time of one reading of every namespace by a watch that has begun: programs are loaded, and what
    does not change is known.
    """
    used = [_watched_s(count) for count in (2, 2 + _ROUNDS)]
    return (used[1] - used[0]) / _ROUNDS


def _watched_s(count: int) -> float:
    argv = [*halfopen_command(), "watch", "--netns", "all", "--interval", "50ms", "--count", str(count)]
    process = subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchError(f"the watch of all namespaces ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def idle(listeners: int, seconds: float) -> Idle:
    """A watch beside one listener and beside so many, with metrics and without. Raises: BenchError, HalfopenError."""
    say(f"an idle watch beside {listeners:,} listeners")
    result = Idle(seconds)
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory, Lab() as lab:
        for n in (1, listeners):
            for port in range(_FIRST_PORT + (n > 1), _FIRST_PORT + n):
                lab.server.listen(port)
            if n == 1:
                lab.server.listen(_FIRST_PORT - 1)
            for metrics in (False, True):
                words = ["--metrics-file", os.path.join(directory, "bench.prom")] if metrics else []
                result.shares.append((n, metrics, _share(lab, words, seconds)))
    return result


def _share(lab: Lab, words: list[str], seconds: float) -> float:
    argv = [*halfopen_command(), "watch", *words]
    process = lab.server.spawn(argv, stdout=subprocess.PIPE, env=environment())
    try:
        _begun_to_watch(process)
        time.sleep(min(_WARM_S, seconds))
        begun, used_s = time.monotonic(), _used_s(process.pid)
        time.sleep(seconds)
        if process.poll() is not None:
            raise BenchError(f"the watch ended with {process.returncode}")
        return (_used_s(process.pid) - used_s) / (time.monotonic() - begun)
    finally:
        lab.server.end(process)


def _begun_to_watch(process: subprocess.Popen[bytes]) -> None:
    """Wait for the two lines of a watch, that it watches and what its first reading found: on a busy machine that may
    take long, and starting costs as much as minutes of an idle watch. Raises: BenchError.
    """
    if process.stdout is None or not all(process.stdout.readline() for _ in range(2)):
        raise BenchError(f"the watch ended with {process.wait()}")


def _used_s(pid: int) -> float:
    # The clock of another process's CPU time (clock_getcpuclockid(3)).
    return time.clock_gettime(~pid << 3 | 2)


_LINE: Final = "  {:<48}{:>10}{:>10}{:>6}"


def owners_lines(result: Timed) -> list[str]:
    """The table of `owners`."""
    return _timed(f"Beside {result.beside:,} open files of other processes (whole processes, milliseconds)", result)


def namespaces_lines(result: Timed) -> list[str]:
    """The table of `namespaces`."""
    head = f"{result.beside:,} empty network namespaces (whole processes, milliseconds)"
    titles = {STATUS: "status --netns all", WATCH: "watch --netns all, processor time of a reading"}
    named = Timed(result.beside, {titles[name]: runs for name, runs in result.runs_s.items()})
    return _timed(head, named)


def _timed(head: str, result: Timed) -> list[str]:
    lines = [head, _LINE.format("", "median", "least", "runs")]
    for name, runs in result.runs_s.items():
        lines.append(_LINE.format(name, f"{statistics.median(runs) * 1e3:,.0f}", f"{min(runs) * 1e3:,.0f}", len(runs)))
    return lines


def idle_lines(result: Idle) -> list[str]:
    """The table of `idle`."""
    lines = [f"A watch beside idle listeners, at one reading a second for {result.seconds:g} s (share of a core)"]
    for n, metrics, share in result.shares:
        name = f"{n:,} listener{'s' * (n > 1)}{', with --metrics-file' * metrics}"
        lines.append(f"  {name:<48}{share:>10.2%}")
    return lines


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    given = [*numbers, *(1_000_000, 500, 20)[len(numbers) :]]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place:
        log = os.path.join(place, "audit.jsonl")
        print("\n".join(owners_lines(owners(given[0], 5, log))))
        print("\n".join(namespaces_lines(namespaces(given[1], 5, log))))
        print("\n".join(idle_lines(idle(1000, given[2]))))
