"""The pulse: both queues of 1,000 listeners, beside a million half-open connections of theirs or of another namespace.

Alone: python bench/eyes.py [HALF_OPEN] [LISTENERS] [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from inside import BenchError
from reading import PORT, backlog, prepare
from still import Still, say

from halfopen.core.errors import HalfopenError
from halfopen.lab import Lab
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import sockdiag
from halfopen.read.bpf import programs as eyes
from halfopen.wire import inet_diag

_FIRST_PORT: Final = 20_000
OWN: Final = "with the connections"
OTHER: Final = "beside them, without any"
_SS_LISTEN: Final = ("ss", "-Hltn")
_SS_SYN_RECV: Final = ("ss", "-Hnt", "state", "syn-recv")


@dataclass(slots=True)
class Eyes:
    """Seconds of each reader's runs in each of the two namespaces, by namespace and reader.

    agreed: on the still set the pulse's queue lengths were the census's numbers, listener by listener.
    """

    half_open: int
    listeners: int
    runs_s: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    agreed: bool = False
    missing: str = ""

    def median_ms(self, where: str, reader: str) -> float:
        """Raises: KeyError, StatisticsError without any run."""
        return statistics.median(self.runs_s[where][reader]) * 1000


def measure(half_open: int, listeners: int, rounds: int) -> Eyes:
    """Raises: BenchError when the numbers do not agree, HalfopenError."""
    say(f"the pulse of {listeners:,} listeners beside {half_open:,} half-open connections")
    result = Eyes(half_open, listeners)
    try:
        eyes.pulse(), eyes.census()
    except HalfopenError as e:
        result.missing = e.message
        return result
    with Lab() as own, Lab() as other:
        prepare(own)
        web = own.server.listen(PORT, backlog=backlog(half_open))
        for i in range(listeners - 1):
            own.server.listen(_FIRST_PORT + i)
        for i in range(listeners):
            other.server.listen(_FIRST_PORT + i)
        still = Still(own, web, half_open)
        result.agreed = still.during(3.0, lambda: _agree(own, listeners))
        if not result.agreed:
            raise BenchError("pulse and census do not agree: no figures")
        for _ in range(rounds):
            for where, lab in ((OWN, own), (OTHER, other)):
                for name, call in _readers(lab, listeners).items():
                    slow = name.startswith(("ss", "sock_diag walk"))
                    # What takes a millisecond is measured five times in a row.
                    seconds = still.during(
                        4.0 if slow else 0.3, lambda n=1 if slow else 5, c=call: [c() for _ in range(n)]
                    )
                    result.runs_s.setdefault(where, {}).setdefault(name, []).extend(seconds)
    return result


def _agree(lab: Lab, listeners: int) -> bool:
    """Whether each listener's SYN queue is as long as the census finds requests for its port."""
    pulse = lab.server.run(lambda: eyes.pulse().read(listeners))

    def count() -> dict[int, int]:
        import numpy as np

        total = np.zeros(65536, dtype=np.int64)
        for part in eyes.census().read():
            total += np.bincount(part.rows["local_port"].astype(np.int64), minlength=65536)
        return {int(port): int(total[port]) for port in np.flatnonzero(total)}

    found = lab.server.run(count)
    queues = {int(r["port"]): int(r["qlen"]) for r in pulse if r["qlen"]}
    return len(pulse) == listeners and queues == found


def _readers(lab: Lab, listeners: int) -> dict[str, Callable[[], float]]:
    def timed(work: Callable[[], object]) -> float:
        def inside() -> float:
            begun = time.perf_counter()
            work()
            return time.perf_counter() - begun

        return lab.server.run(inside)

    def dump(states: int) -> None:
        with open_sock_diag() as s:
            for _ in sockdiag.receive(s, inet_diag.dump_request(states)):
                pass

    def command(words: tuple[str, ...]) -> float:
        argv = ["nsenter", f"--net={lab.server.netns_path}", *words]
        begun = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    return {
        "pulse": lambda: timed(lambda: eyes.pulse().read(listeners)),
        "LISTEN dump": lambda: timed(lambda: dump(sockdiag.LISTEN_STATES)),
        "sock_diag walk": lambda: timed(lambda: dump(sockdiag.SYN_RECV_STATES)),
        "ss -Hltn (process)": lambda: command(_SS_LISTEN),
        "ss -Hnt state syn-recv (process)": lambda: command(_SS_SYN_RECV),
    }


def as_lines(result: Eyes) -> list[str]:
    """The table."""
    head = f"Both queues of {result.listeners:,} listeners beside {result.half_open:,} half-open connections"
    if result.missing:
        return [f"{head}: {result.missing}"]
    lines = [f"{head} (milliseconds, medians)", f"  {'':<36}{OWN:>22}{OTHER:>28}"]
    for name in result.runs_s.get(OWN, {}):
        own, other = (result.median_ms(where, name) for where in (OWN, OTHER))
        lines.append(f"  {name:<36}{own:>22,.2f}{other:>28,.2f}")
    lines.append("  The pulse's queue lengths are the census's numbers, listener by listener")
    return lines


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    given = [*numbers, *(1_000_000, 1000, 9)[len(numbers) :]]
    print("\n".join(as_lines(measure(*given))))
