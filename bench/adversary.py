"""The adversary: slow clients whose handshakes complete at random moments while releases run without a pause.

How many connections that had completed are reset, and what it does to clients that are nobody's victims.
Alone: python bench/adversary.py [CLIENTS] [ROUNDS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError, Inside
from machine import real_time_refused
from reading import PORT
from still import say

from halfopen.lab import Lab

OLDER_THAN_S: Final = 1.0
# Handshakes take up to this long, evenly spread: about half of the clients become victims.
_SPREAD_S: Final = 2.0
_RATE: Final = 5_000
SS_KILL: Final = ["ss", "-HntK", "state", "syn-recv"]
NOTHING: Final = "nothing"
DOOR: Final = "halfopen, door held"
NARROW: Final = "halfopen, narrow window"
SS: Final = "ss -K"
# A process that does nothing but keep a core busy: what any work at all on this machine does to its other processes.
BUSY: Final = "another busy process"
WAYS: Final = (NOTHING, DOOR, NARROW, SS)
# With the clients that are nobody's victims processes of this machine, which it schedules like any other.
HERE: Final = {way: f"{way}; clients here" for way in (NOTHING, BUSY, DOOR)}
# Connects one after the other and says how long each took; runs in the client's namespace. It closes none until it is
# told to end: a close may be counted as a reset. As another machine would, it has a processor whenever it wants one
# (real-time) and does not sleep before the answer comes; with `here` it is an ordinary process that sleeps.
_PROBE: Final = """
import json, os, resource, select, socket, sys, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
address, seconds, where = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), sys.argv[4]
here = where == "here"
if where == "elsewhere":
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
took, kept = [], []
print("ready", flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    s = socket.socket()
    s.setblocking(here)
    answer = select.poll()
    answer.register(s, select.POLLOUT)
    begun = time.perf_counter()
    s.connect_ex(address)
    while not here and not answer.poll(0):
        pass
    took.append(time.perf_counter() - begun)
    if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        sys.exit("refused")
    kept.append(s)
    time.sleep(0.001)
print(json.dumps(took), flush=True)
sys.stdin.read()
"""
# Each packet is taken in by the CPU its flow's hash names, as with a network card of many queues. Otherwise the wire
# between two namespaces has all of a client's packets taken in on the client's own CPU, and never beside the release.
_SPREAD: Final = "mount -t sysfs none /sys && for f in /sys/class/net/*/queues/rx-*/rps_cpus; do echo {cpus} >$f; done"


@dataclass(slots=True)
class Attack:
    """One run: `clients` slow ones, `completed` of which reached the server, `resets` of those were reset.

    passes: releases or ss runs in that time; released: as the product counts. connect_s: of the honest ones.
    """

    clients: int
    completed: int
    resets: int
    passes: int
    released: int | None
    connect_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Adversary:
    """Runs by the way of releasing. not_elsewhere: why the other clients are not as those of another machine, if so."""

    clients: int
    not_elsewhere: str = ""
    runs: dict[str, list[Attack]] = field(default_factory=dict)

    def p99_s(self, way: str) -> float:
        """Of the connects of all runs together. Raises: StatisticsError without any."""
        return statistics.quantiles([s for run in self.runs[way] for s in run.connect_s], n=100)[98]

    def resets(self, way: str) -> int:
        return sum(run.resets for run in self.runs[way])


def measure(clients: int, rounds: int, audit_log: str) -> Adversary:
    """Raises: BenchError, HalfopenError."""
    say(f"{clients:,} slow clients against releases without a pause")
    result = Adversary(clients, real_time_refused())
    spreads = not result.not_elsewhere
    for _ in range(rounds):
        for way in WAYS:
            where = "polling" if result.not_elsewhere else "elsewhere"
            result.runs.setdefault(way, []).append(_attack(way, clients, audit_log, where, spreads=spreads))
        for way, row in HERE.items():
            result.runs.setdefault(row, []).append(_attack(way, clients, audit_log, "here", spreads=spreads))
    return result


def _attack(way: str, clients: int, audit_log: str, where: str, *, spreads: bool) -> Attack:
    with Lab() as lab:
        if spreads:
            spread(lab)
        lab.server.set_sysctl("net.ipv4.tcp_max_tw_buckets", 0)
        web = lab.server.listen(PORT, backlog=200_000)
        inside = Inside(lab, audit_log)
        worker = {DOOR: "release_old", NARROW: "release_old_narrow"}.get(way)
        if worker:
            inside.missing(worker)
        before = _snmp(lab)
        probe = _probe(lab, clients / _RATE + _SPREAD_S, where)
        late = lab.client.slow(web, clients, 0.0, _SPREAD_S, _RATE)
        over = threading.Event()
        passes, released = 0, 0

        def watch_over() -> None:
            late.wait()
            over.set()

        waiting = threading.Thread(target=watch_over, daemon=True)
        waiting.start()
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if way == BUSY else None
        while not over.is_set():
            if way in (NOTHING, BUSY):
                over.wait(0.1)
            elif worker:
                released += int(inside.call(worker)["count"])
                passes += 1
            else:
                inside.run(SS_KILL)
                passes += 1
        waiting.join()
        if busy:
            busy.kill()
            busy.wait()
        if probe.stdout is None:
            raise BenchError("the probe has no output")
        connect_s = json.loads(probe.stdout.readline())
        after = _snmp(lab)
        # Who completed would stay in the kernel's table for minutes after the namespace is gone, and slow what is next.
        inside.run(["ss", "-HntK", "state", "established"])
        probe.communicate(timeout=30)
        completed = after["PassiveOpens"] - before["PassiveOpens"] - len(connect_s)
        resets = after["EstabResets"] - before["EstabResets"]
        return Attack(clients, completed, resets, passes, released if worker else None, connect_s)


def spread(lab: Lab) -> None:
    """Have the server take packets in on every CPU. Raises: BenchError."""
    mask = f"{(1 << (os.cpu_count() or 1)) - 1:x}"
    # The kernel takes 32 CPUs between commas.
    cpus = ",".join(mask[max(0, end - 8) : end] for end in range(len(mask) % 8 or 8, len(mask) + 8, 8))
    command = lab.server.spawn(["unshare", "--mount", "sh", "-ec", _SPREAD.format(cpus=cpus)])
    if command.wait():
        raise BenchError("the server's packets cannot be spread over the CPUs (rps_cpus)")


def _probe(lab: Lab, seconds: float, where: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _PROBE, lab.server.v4, str(PORT), str(seconds), where]
    probe = lab.client.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if probe.stdout is None or probe.stdout.readline() != "ready\n":
        raise BenchError("the probe did not start")
    return probe


def _snmp(lab: Lab) -> dict[str, int]:
    def read() -> dict[str, int]:
        lines = Path("/proc/thread-self/net/snmp").read_text(encoding="ascii").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return dict(zip(names[1:], map(int, values[1:]), strict=True))

    found: dict[str, int] = lab.server.run(read)
    return found


def as_lines(result: Adversary) -> list[str]:
    """The table."""
    lines = [
        f"{result.clients:,} slow clients, handshakes of 0 to {_SPREAD_S:g} s, releases of those older than "
        f"{OLDER_THAN_S:g} s without a pause",
        f"  {'':<36}{'passes':>8}{'released':>10}{'completed':>11}{'reset':>7}{'p99 of others':>16}",
    ]
    if result.not_elsewhere:
        lines.append(f"  the others are processes of this machine: {result.not_elsewhere}")
    for way, runs in result.runs.items():
        released: Any = sum(run.released or 0 for run in runs) if runs[0].released is not None else "-"
        lines.append(
            f"  {way:<36}{sum(r.passes for r in runs):>8,}{released:>10}{sum(r.completed for r in runs):>11,}"
            f"{result.resets(way):>7,}{result.p99_s(way) * 1e6:>13,.0f} us"
        )
    return lines


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory:
        given = [*numbers, *(50_000, 1)[len(numbers) :]]
        print("\n".join(as_lines(measure(given[0], given[1], os.path.join(directory, "audit.jsonl")))))
