"""Open and closing connections: reading them with their processes against ss, lsof, netstat and psutil on the same
sockets; keepalive retrofitted; and an adversary whose connections become active while idle ones are ended.

Both ends of the connections are held by child processes in one private namespace, MOST of them each: a process may not
have more descriptors everywhere. Alone: bench/run.py --only closing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import machine
from inside import BenchError
from still import say

from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.policy.connection_actions import DESTROY, KEEPALIVE_ON, ChangeConnections, KeepaliveOptions
from halfopen.core.sample.closing import ALL_STATES, ESTABLISHED, OpenSockets
from halfopen.lab import Lab
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns
from halfopen.ops.closing import cure
from halfopen.ops.closing.look import look
from halfopen.read import closing

# Descriptors of one holder: below 20,000, two a connection.
MOST: Final = 8000
PORT: Final = 20_000
IDLE_S: Final = 0.4
# Holds n connections to its own listener and sends on one at a random moment now and then, until told to report.
_HOLDER: Final = """
import json, random, select, socket, struct, sys, time
port, n, every_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
address = f"127.0.{port % 250}.1"
listener = socket.create_server((address, port), backlog=4096)
clients, servers = [], []
for _ in range(n):
    clients.append(socket.create_connection((address, port)))
    servers.append(listener.accept()[0])
print("ready", flush=True)
last = [0.0] * n
pause = every_s / n if every_s else None
due = time.monotonic()
while True:
    wait = None if pause is None else max(0.0, due - time.monotonic())
    if select.select([sys.stdin], [], [], wait)[0]:
        word = sys.stdin.readline().strip()
        if word == "report":
            dead = [i for i, one in enumerate(clients) if one.getsockopt(6, 11, 1)[0] != 1]
            print(json.dumps([last[i] for i in dead]), flush=True)
            continue
        break
    if pause is not None:
        due += random.expovariate(1 / pause)
        i = random.randrange(n)
        try:
            clients[i].send(b"x")
            last[i] = time.monotonic()
        except OSError:
            pass
"""


@dataclass(slots=True)
class Taken:
    """One way to read: wall and CPU seconds of each round, and how many connections it showed; or why not."""

    label: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    shown: int | None = None
    missing: str = ""

    @property
    def median_s(self) -> float:
        return statistics.median(self.wall_s) if self.wall_s else float("nan")


@dataclass(slots=True)
class Ended:
    """One way to end idle connections beside the adversary: how many were ended, and how many of these had sent less
    than IDLE_S before for certain (they sent later than IDLE_S before the last was ended).
    """

    way: str
    ended: int
    wrongly: int
    seconds: float


@dataclass(slots=True)
class ClosingFigures:
    """All of it; load: of the machine at the beginning."""

    sockets: int
    load: float
    taken: list[Taken] = field(default_factory=list)
    keepalive_us: dict[str, float] = field(default_factory=dict)
    keepalive_s: float = 0.0
    adversary: list[Ended] = field(default_factory=list)
    connections: int = 0


@contextmanager
def holders(lab: Lab, connections: int, every_s: float = 0.0) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that hold both ends of so many connections. Raises: BenchError."""
    sizes = [min(MOST, connections - at) for at in range(0, connections, MOST)]
    begun: list[subprocess.Popen[str]] = []

    def start(i: int, n: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", _HOLDER, str(PORT + i), str(n), str(every_s)]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    try:
        for i, n in enumerate(sizes):
            begun.append(lab.server.run(lambda i=i, n=n: start(i, n)))  # type: ignore[misc]
        for one in begun:
            if one.stdout is None or one.stdout.readline() != "ready\n":
                raise BenchError("a process could not open its connections: is RLIMIT_NOFILE below 20,000?")
        yield begun
    finally:
        for one in begun:
            one.kill()
        for one in begun:
            one.wait()
            for pipe in (one.stdin, one.stdout):
                if pipe is not None:
                    pipe.close()


def measure(sockets: int, adversaries: int, rounds: int) -> ClosingFigures:
    """Raises: BenchError, HalfopenError."""
    found = ClosingFigures(sockets, machine.load(), connections=adversaries)
    with Lab() as lab, holders(lab, sockets // 2):
        say(f"{sockets:,} connections and their processes")
        found.taken = _read(lab, sockets, rounds)
        found.keepalive_us, found.keepalive_s = _keepalive(lab, sockets)
    for way in ("bpf", "netlink"):
        say(f"{adversaries:,} connections that become active while idle ones are ended, by {way}")
        found.adversary.append(_adversary(adversaries, way))
    return found


def _ours(ns: Netns) -> int:
    """What the command does, but for its start: listeners, connections, processes, groups, verdict."""
    sockets = look(ns, ClosingFilter()).model.sockets
    if sockets.pids is None or not sockets.owners_whole or (sockets.pids[sockets.rows["inode"] != 0] == 0).any():
        raise BenchError("a connection without its process")
    return len(sockets.rows)


def _read(lab: Lab, sockets: int, rounds: int) -> list[Taken]:
    halfopen = [sys.executable, "-m", "halfopen"]
    ways: list[tuple[str, Callable[[], int]]] = [
        ("halfopen: walk and processes", lambda: len(_look("bpf", owners=True).rows)),
        ("halfopen: walk alone", lambda: len(_look("bpf", owners=False).rows)),
        ("halfopen: count by state", lambda: sum(closing.count().by_state)),
        ("halfopen: sock_diag alone", lambda: len(_look("diag", owners=False).rows)),
    ]
    path = lab.server.netns_path
    ns = Netns("bench", os.stat(path).st_ino, path)
    found = [_timed(lambda work: work(), "halfopen: the whole look and its verdict", lambda: _ours(ns), rounds)]
    found += [_timed(lab.server.run, label, work, rounds) for label, work in ways]
    others = [
        ("halfopen closing --json, start-up included", [*halfopen, "closing", "--json"], None),
        ("ss -Htan", ["ss", "-Htan"], rounds),
        ("ss -Htani", ["ss", "-Htani"], rounds),
        # It grows like the square of their number.
        ("ss -Htanpi", ["ss", "-Htanpi"], rounds if sockets <= 100_000 else 0),
        ("netstat -ant", ["netstat", "-ant"], rounds),
        ("lsof -nP -iTCP", ["lsof", "-nP", "-iTCP"], 1),
        ("psutil.net_connections", [sys.executable, "-c", "import psutil; psutil.net_connections('tcp')"], 1),
    ]
    for label, argv, times in others:
        found.append(_command(lab, label, argv, rounds if times is None else times))
    return found


def _look(way: str, *, owners: bool) -> OpenSockets:
    return closing.read(way, ALL_STATES, with_owners=owners, notes=[])


def _timed(run: Callable[[Callable[[], int]], int], label: str, work: Callable[[], int], rounds: int) -> Taken:
    taken = Taken(label)
    run(work)  # loads the programs
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        taken.shown = run(work)
        taken.wall_s.append(time.perf_counter() - wall)
        taken.cpu_s.append(time.process_time() - cpu)
    return taken


def _command(lab: Lab, label: str, argv: list[str], rounds: int) -> Taken:
    taken = Taken(label)
    if not rounds:
        taken.missing = "left out: it grows like the square"
    elif shutil.which(argv[0]) is None:
        taken.missing = "not installed"

    def run() -> tuple[float, float, int]:
        wall = time.perf_counter()
        with open(os.devnull, "w") as null:
            pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null.fileno(), 1)])
            _, status, usage = os.wait4(pid, 0)
        return time.perf_counter() - wall, usage.ru_utime + usage.ru_stime, status

    for _ in range(0 if taken.missing else rounds):
        wall_s, cpu_s, status = lab.server.run(run)
        if status:
            taken.missing = f"ended with {os.waitstatus_to_exitcode(status)}"
            break
        taken.wall_s.append(wall_s)
        taken.cpu_s.append(cpu_s)
    return taken


def _action(lab: Lab, how: str, filter: ClosingFilter, most: int) -> tuple[ChangeConnections, Netns]:
    path = lab.server.netns_path
    ns = Netns("bench", os.stat(path).st_ino, path)
    options = KeepaliveOptions(True, 7200, 75, 9) if how == KEEPALIVE_ON else None
    return ChangeConnections(identify(ns), how, filter, "bench", most, options), ns


@contextmanager
def _without(name: str) -> Iterator[None]:
    """An eBPF object that is not loaded meanwhile."""
    os.environ["HALFOPEN_REFUSE_BPF"] = name
    try:
        yield
    finally:
        os.environ.pop("HALFOPEN_REFUSE_BPF")


def _keepalive(lab: Lab, sockets: int) -> tuple[dict[str, float], float]:
    """CPU microseconds a connection, all told, by both ways; and the seconds that all of them took in the iterator."""
    found, took_s = {}, 0.0
    every, few = ClosingFilter(states=(ESTABLISHED,)), ClosingFilter(states=(ESTABLISHED,), peers=_few())
    for label, filter, refuse in (("in the iterator", every, ""), ("by descriptors", few, "closers")):
        action, ns = _action(lab, KEEPALIVE_ON, filter, sockets)
        with _without(refuse):
            cpu, wall = time.process_time(), time.perf_counter()
            outcome = cure.execute(action, ns)
            took_s = took_s or time.perf_counter() - wall
            found[label] = (time.process_time() - cpu) / max(outcome.done, 1) * 1e6
        if outcome.failed or not outcome.done:
            raise BenchError(f"keepalive {label}: {outcome}")
    return found, took_s


def _few() -> tuple[Any, ...]:
    from halfopen.core.closing_filter import peer

    return (peer(f":{PORT}"),)


def _adversary(connections: int, way: str) -> Ended:
    """End what was idle for IDLE_S while connections become active, each every four seconds on average."""
    with Lab() as lab, holders(lab, connections, 4.0) as begun:
        time.sleep(2.0)
        filter = ClosingFilter(states=(ESTABLISHED,), idle_s=IDLE_S)
        action, ns = _action(lab, DESTROY, filter, 2 * connections)
        with _without("" if way == "bpf" else "closers"):
            started = time.monotonic()
            outcome = cure.execute(action, ns)
            ended_at = time.monotonic()
        if outcome.way != way:
            raise BenchError(f"connections were ended by {outcome.way}, not {way}")
        last: list[float] = []
        for one in begun:
            if one.stdin is None or one.stdout is None:
                continue
            one.stdin.write("report\n")
            one.stdin.flush()
            last += json.loads(one.stdout.readline())
        wrongly = sum(sent_at > ended_at - IDLE_S for sent_at in last)
        return Ended(way, len(last), wrongly, ended_at - started)


def lines(found: ClosingFigures) -> list[str]:
    """The table."""
    ours = found.taken[0].median_s
    alone = found.taken[2].median_s
    told = [f"{found.sockets:,} connections, load {found.load:.1f}: median wall and CPU time, times as long as ours"]
    for taken in found.taken:
        if not taken.wall_s:
            told.append(f"  {taken.label:<46} {taken.missing}")
            continue
        cpu = statistics.median(taken.cpu_s)
        base = alone if taken.label in ("ss -Htan", "ss -Htani", "netstat -ant") else ours
        base_cpu = statistics.median(found.taken[2 if base == alone else 0].cpu_s)
        ratio = f"{taken.median_s / base:6.1f}x {cpu / base_cpu:6.1f}x"
        ratio = "" if taken.label.startswith("halfopen") else ratio
        told.append(f"  {taken.label:<46} {taken.median_s:9.3f} s {cpu:9.3f} s {ratio}")
    told.append("  (without processes: against the walk alone; with processes: against the whole look)")
    for label, us in found.keepalive_us.items():
        told.append(f"  keepalive {label:<36} {us:9.2f} us of CPU a connection")
    told.append(f"  keepalive onto all of them, in the iterator {found.keepalive_s:9.3f} s")
    told += [f"  goal: {words}" for words in _goals(found)]
    for one in found.adversary:
        told.append(
            f"  idle for {IDLE_S:g} s, ended by {one.way} beside {found.connections:,} that become active: "
            f"{one.ended:,} in {one.seconds:.2f} s, {one.wrongly:,} of them had sent less than {IDLE_S:g} s before"
        )
    return told


def _goals(found: ClosingFigures) -> Iterator[str]:
    """The goals of this number of connections, and whether they are met: by wall time, with processes."""
    seconds = {one.label: one.median_s for one in found.taken if one.wall_s}
    ours = seconds["halfopen: walk and processes"]
    if found.sockets >= 1_000_000:
        yield _goal("connections and processes within 1.2 s", ours <= 1.2, f"{ours:.2f} s")
        yield _goal("keepalive within 1.5 s", found.keepalive_s <= 1.5, f"{found.keepalive_s:.2f} s")
    if not 100_000 <= found.sockets < 1_000_000:
        return
    for label, times in (("ss -Htanpi", 40), ("lsof -nP -iTCP", 18), ("psutil.net_connections", 12)):
        if label in seconds:
            ratio = seconds[label] / ours
            yield _goal(f"connections and processes {times} times as fast as {label}", ratio >= times, f"{ratio:.0f}")


def _goal(words: str, met: bool, figure: str) -> str:
    return f"{words}: {'met' if met else 'missed'} ({figure})"


def document(found: ClosingFigures) -> dict[str, Any]:
    """For --json."""
    from dataclasses import asdict

    return {"schema": "halfopen.bench-closing/1", **asdict(found)}
