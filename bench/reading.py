"""Reading: everybody reads the same half-open connections, in turns, and must see the same number."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inside import BenchError, Inside
from machine import Others
from still import RETRIES, NoWindow, Still, say

from halfopen.lab import Lab

PORT: Final = 8080
SS: Final = ["ss", "-Hnt", "state", "syn-recv"]
NETSTAT: Final = ["netstat", "-ant"]
# One that takes longer is measured fewer times: from this many seconds on, so many rounds at most.
_SLOW: Final = ((10.0, 1), (4.0, 3))
# The first call's time is guessed, with room to spare; later ones take about as long as the last.
_ROOM: Final = 1.25
_LEAST_S: Final = 0.15
# What others disturbed is repeated so often, as long as all repetitions of a set together took less than that.
_TRIES: Final = 4
_REPEAT_S: Final = 30.0


@dataclass(slots=True)
class Row:
    """One reader of one set: its timed runs in seconds, the number it reported, its peak RSS; or why it is missing.

    disturbed: how many of the runs other processes of the machine disturbed, and again when repeated.
    """

    name: str
    label: str
    runs_s: list[float] = field(default_factory=list)
    said: int | None = None
    rss_bytes: int = 0
    missing: str = ""
    disturbed: int = 0

    @property
    def median_s(self) -> float:
        """Raises: StatisticsError without any run."""
        return statistics.median(self.runs_s)


@dataclass(slots=True)
class Reading:
    """One set of `half_open` connections and its rows. `agreed`: every reader there is reported that number."""

    half_open: int
    rows: list[Row] = field(default_factory=list)

    @property
    def agreed(self) -> bool:
        return all(row.said == self.half_open for row in self.rows if not row.missing)

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True, slots=True)
class Reader:
    """How to read once (timed), how to learn its number where the timed run throws it away, and a guess of its time."""

    name: str
    label: str
    missing: Callable[[Inside], str | None]
    time: Callable[[Inside], dict[str, Any]]
    count: Callable[[Inside], int] | None
    guess_us: float
    bytes_each: int = 0

    def absent(self, inside: Inside, n: int) -> str:
        """Why it cannot read `n` connections here; empty when it can."""
        need = self.bytes_each * n
        if need > _available_bytes():
            return f"needs about {need / 1e9:.0f} GB of memory"
        return self.missing(inside) or ""

    def guess_s(self, n: int) -> float:
        return 0.15 + n * self.guess_us * 1e-6


def halfopen_command() -> list[str]:
    """The command as installed beside this Python, else the module."""
    installed = Path(sys.executable).parent / "halfopen"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "halfopen"]


def _available_bytes() -> int:
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable:"))


def _worker(name: str, label: str, guess_us: float, *, bytes_each: int = 0) -> Reader:
    return Reader(name, label, lambda i: i.missing(name), lambda i: i.call(name), None, guess_us, bytes_each)


def _command(name: str, label: str, argv: list[str], count: Callable[[Inside], int], guess_us: float) -> Reader:
    def missing(_: Inside) -> str | None:
        return None if shutil.which(argv[0]) else f"{argv[0]} is not installed"

    return Reader(name, label, missing, lambda i: i.run(argv), count, guess_us)


def _lines(argv: list[str], holding: str = "\n") -> Callable[[Inside], int]:
    return lambda inside: int(inside.run(argv, read=True, holding=holding)["count"])


def _status_count(inside: Inside) -> int:
    document = json.loads(inside.run([*halfopen_command(), "status", "--instant", "--json"], read=True)["head"])
    return int(document["namespaces"][0]["half_open"])


STATUS: Final = [*halfopen_command(), "status"]


def readers() -> list[Reader]:
    """Everybody, in the order of their turns."""
    return [
        _worker("floor", "floor: the dump, received and thrown away", 0.6),
        _worker("bytes_of_census", "the eBPF census, read and thrown away", 0.6),
        _worker("census", "the eBPF census, parsed", 0.7),
        _worker("bytes_of_iterator", "the same by the iterator, thrown away", 0.6),
        _worker("snapshot", "halfopen.snapshot(rows=False)", 0.9),
        _worker("snapshot_diag", "the same by sock_diag alone", 0.9),
        _command("status", "halfopen status --instant (process)", [*STATUS, "--instant"], _status_count, 1.2),
        _command("two_looks", "halfopen status, its pause included", STATUS, _status_count, 1.2),
        _command("ss", f"{' '.join(SS)} (process)", SS, _lines(SS), 2.0),
        _worker("proc", "/proc/net/tcp, lines in state 03", 3.0),
        _command("netstat", f"{' '.join(NETSTAT)} (process)", NETSTAT, _lines(NETSTAT, " SYN_RECV"), 5.0),
        _worker("psutil", "psutil.net_connections(kind='tcp')", 12.0),
        _worker("pyroute2", "pyroute2 DiagSocket.get_sock_stats()", 60.0, bytes_each=4500),
    ]


def prepare(lab: Lab) -> None:
    """Set the server up so that a set lasts: 8 retransmissions, no SYN cookies needed, no pruning (a large backlog)."""
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", RETRIES)


def backlog(n: int) -> int:
    """Above half fill the kernel prunes the queue itself."""
    return min(4_000_000, max(1024, 3 * n))


def measure(n: int, rounds: int, audit_log: str) -> Reading:
    """Make `n` half-open connections and read them `rounds` times in turns (slow readers fewer times).

    Raises: BenchError when the number of connections changed, or the readers disagree about it.
    """
    say(f"reading {n:,} half-open connections")
    with Lab() as lab:
        prepare(lab)
        inside = Inside(lab, audit_log)
        listener = lab.server.listen(PORT, backlog=backlog(n))
        still = Still(lab, listener, n)
        result = _Turns(inside, still, n, rounds).take()
        there = lab.server.half_open()
        if there != n:
            raise BenchError(f"the set was {n:,} and is {there:,} after the readings: no figures")
        if n:
            # The hash table is shared by all namespaces: the next set must not walk over this one.
            inside.call("release")
            lab.settle(0)
    if not result.agreed:
        numbers = ", ".join(f"{row.name} {row.said}" for row in result.rows if not row.missing)
        raise BenchError(f"the readers disagree about {n:,} half-open connections: {numbers}: no figures")
    return result


class _Turns:
    def __init__(self, inside: Inside, still: Still, n: int, rounds: int) -> None:
        self.inside = inside
        self.still = still
        self.n = n
        self.rounds = rounds
        self.result = Reading(n)
        self.last_s: dict[str, float] = {}
        self.repeated_s = 0.0

    def take(self) -> Reading:
        present = []
        for reader in readers():
            row = Row(reader.name, reader.label, missing=reader.absent(self.inside, self.n))
            self.result.rows.append(row)
            if row.missing:
                say(f"    {reader.name}: {row.missing}")
            else:
                present.append((reader, row))
        for reader, row in present:
            try:
                self._warm_up(reader, row)
            except NoWindow as e:
                row.missing = e.message
        # Those measured once come last: the others' rounds stay close together.
        for slow in (False, True):
            for turn in range(self.rounds):
                for reader, row in present:
                    most = self._rounds(reader)
                    if not row.missing and turn < most and slow == (most == 1 < self.rounds):
                        self._turn(reader, row)
        return self.result

    def _expected_s(self, reader: Reader) -> float:
        return self.last_s.get(reader.name, reader.guess_s(self.n))

    def _rounds(self, reader: Reader) -> int:
        """How often a reader is measured, by how long it takes."""
        expected_s = self._expected_s(reader)
        return next((min(most, self.rounds) for limit_s, most in _SLOW if expected_s > limit_s), self.rounds)

    def _warm_up(self, reader: Reader, row: Row) -> None:
        """An untimed reading: imports and caches, and the number a timed command throws away."""
        if reader.count is not None:
            count = reader.count
            row.said = self.still.during(_ROOM * reader.guess_s(self.n), lambda: count(self.inside))
        elif self._rounds(reader) == self.rounds:
            self._call(reader, row)

    def _call(self, reader: Reader, row: Row) -> tuple[float, bool]:
        """Read once in a quiet window: the seconds it took, and whether other processes disturbed it."""

        def read() -> tuple[dict[str, Any], bool]:
            others = Others()
            answer = reader.time(self.inside)
            return answer, others.disturbed(answer["seconds"], answer["cpu_s"])

        answer, disturbed = self.still.during(_ROOM * self._expected_s(reader) + _LEAST_S, read)
        self.last_s[reader.name] = seconds = float(answer["seconds"])
        if reader.count is None:
            if row.said not in (None, self.n):
                return seconds, disturbed  # a wrong number stays
            row.said = int(answer["count"])
        row.rss_bytes = max(row.rss_bytes, int(answer["rss_bytes"]))
        return seconds, disturbed

    def _turn(self, reader: Reader, row: Row) -> None:
        for _ in range(_TRIES):
            try:
                seconds, disturbed = self._call(reader, row)
            except NoWindow as e:  # the others go on; what it took before still counts
                row.missing = "" if row.runs_s else e.message
                say(f"    {reader.name}: {e.message}")
                return
            # One round is for looking whether it works: nothing is told from its figures.
            if not disturbed or self.rounds == 1 or self.repeated_s > _REPEAT_S:
                break
            self.repeated_s += seconds
        row.runs_s.append(seconds)
        row.disturbed += disturbed
        if seconds > 5:
            say(f"    {reader.name}: {seconds:.1f} s")
        if len(row.runs_s) >= self._rounds(reader) and reader.name in ("psutil", "pyroute2"):
            self.inside.end(reader.name)  # what a million objects leave behind
