"""How many SYNs a second the lab sends from one core, server's kernel included: median of three runs of 200,000.

Run as root: python bench/lab_rate.py
"""

from __future__ import annotations

import os
import statistics
import time

# One core in all: sender, both kernels' network stacks, and the listener.
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from halfopen.lab import Lab, enter_user_namespace  # noqa: E402

COUNT = 200_000
RUNS = 3


def measure(address: str) -> float:
    """SYNs a second towards a fresh lab's listener; every one of them is checked to have arrived."""
    with Lab() as lab:
        web = lab.server.listen(0, address, backlog=4 * COUNT)
        lab.client.half_open(web, 1000)  # imports, caches
        begun = time.perf_counter()
        sent = lab.client.half_open(web, COUNT)
        elapsed = time.perf_counter() - begun
        held = sent.settled(30)
        if held != COUNT or sent.lost:
            raise SystemExit(f"{held} of {COUNT} arrived, {sent.lost} lost")
        return COUNT / elapsed


def main() -> None:
    enter_user_namespace()
    for name, address in (("IPv4", "0.0.0.0"), ("IPv6", "2001:db8:1::1")):
        rates = [measure(address) for _ in range(RUNS)]
        runs = ", ".join(f"{rate:,.0f}" for rate in rates)
        print(f"{name}: {statistics.median(rates):,.0f} SYN/s from one core (runs: {runs})")


if __name__ == "__main__":
    main()
