"""What `halfopen diagnose` costs while it looks: beside handshakes that finish, and without any.

Alone: python bench/diagnosing.py [HANDSHAKES A SECOND] [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

if __name__ == "__main__":
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError, Inside
from reading import PORT, halfopen_command
from still import say

from halfopen.lab import Lab

_USUAL_PER_S: Final = 1000
_ROUNDS: Final = 3
# The difference of a long look and a short one is what looking takes; both start, judge and end.
_SHORT_S: Final = 2
_LONG_S: Final = 12
_SERVER: Final = """
import socket, sys
with socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=4096) as s:
    print("listens", flush=True)
    while True:
        s.accept()[0].close()
"""
# As many connections a second as it is told, and how many there were at the end of its input.
_CLIENTS: Final = """
import select, socket, sys, time
address, port, per_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begun, made = time.monotonic(), 0
while not select.select([sys.stdin], [], [], 0)[0]:
    due = (time.monotonic() - begun) * per_s
    while made < due:
        with socket.create_connection((address, port)) as s:
            s.recv(1)
        made += 1
    time.sleep(0.002)
print(made / (time.monotonic() - begun), flush=True)
"""


@dataclass(slots=True)
class Diagnosing:
    """wanted_per_s, per_s: handshakes a second, asked for and made. busy, still: the share of a core that looking takes
    beside them and beside nothing; (rounds,) each.
    """

    wanted_per_s: float
    per_s: float = 0.0
    busy: list[float] = field(default_factory=list)
    still: list[float] = field(default_factory=list)


def diagnosing(per_s: float, rounds: int, audit_log: str) -> Diagnosing:
    """Raises: BenchError when the clients end or diagnose fails, HalfopenError."""
    say(f"diagnose beside {per_s:,g} handshakes a second")
    result = Diagnosing(per_s)
    with Lab() as lab:
        inside = Inside(lab, audit_log)
        result.still = [_share(inside) for _ in range(rounds)]
        with _server(lab):
            result.busy = [_beside(lab, inside, result) for _ in range(rounds)]
    return result


def _beside(lab: Lab, inside: Inside, result: Diagnosing) -> float:
    words = [sys.executable, "-I", "-S", "-c", _CLIENTS, lab.server.v4, str(PORT), str(result.wanted_per_s)]
    clients = lab.client.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        share = _share(inside)
        if clients.poll() is not None:
            raise BenchError(f"the clients ended with {clients.returncode}")
        result.per_s = float(clients.communicate(timeout=10)[0])
        return share
    finally:
        lab.client.end(clients)


@contextmanager
def _server(lab: Lab) -> Iterator[None]:
    server = lab.server.spawn([sys.executable, "-I", "-S", "-c", _SERVER, str(PORT)], stdout=subprocess.PIPE)
    try:
        if server.stdout is None or not server.stdout.readline():
            raise BenchError("the server does not listen")
        yield
    finally:
        lab.server.end(server)


def _share(inside: Inside) -> float:
    used = []
    for seconds in (_SHORT_S, _LONG_S):
        done = inside.run([*halfopen_command(), "diagnose", "--for", f"{seconds}s"])
        if done["code"]:
            raise BenchError(f"diagnose ended with {done['code']}: {done['stderr']}")
        used.append(float(done["cpu_s"]))
    return (used[1] - used[0]) / (_LONG_S - _SHORT_S)


def lines(result: Diagnosing) -> list[str]:
    """The table of `diagnosing`."""
    busy, still = (statistics.median(shares) for shares in (result.busy, result.still))
    return [
        f"diagnose while it looks ({_LONG_S} s less {_SHORT_S} s, median of {len(result.busy)}; share of a core)",
        f"  {'nothing comes':<48}{still:>10.2%}",
        f"  {f'{result.per_s:,.0f} handshakes a second finish':<48}{busy:>10.2%}",
    ]


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:3]]
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place:
        log = os.path.join(place, "audit.jsonl")
        rate, times = (*given, *(float(_USUAL_PER_S), float(_ROUNDS))[len(given) :])
        print("\n".join(lines(diagnosing(rate, int(times), log))))
