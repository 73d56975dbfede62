"""Honest clients where one core takes all packets in, and half a million SYNs a second come, or a million: by the
kernel's cookies, by the guard at tc, and by its front in the driver.

Measured with protect.py: python bench/run.py --only protect [--quick]; alone, with rounds in turns:
python bench/saturated.py [--rounds 3] [--seconds 3].

The sender, the clients and the application are on the other core. SYN-ACKs to forged addresses are dropped where they
leave the server, as what the far end of a wire does with them costs no server anything; those of the front where they
arrive, which its row pays. veth stands in for a card's queue: it runs programs in its driver if its peer has
one as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

import honest
import napi
from inside import BenchError
from pouring import Pouring
from syn_cost import as_a_card, sockets_of_machine

from halfopen.core.errors import HalfopenError
from halfopen.core.policy.actions import Protect
from halfopen.core.sample.guard import TC, XDP
from halfopen.lab import Lab
from halfopen.linux.identity import identify
from halfopen.linux.netns import resolve
from halfopen.ops.protect.armed import Armed

RATES: Final = 500_000, 1_000_000
ROWS: Final = {"cookies = 1": None, "protect, rung tc": TC, "protect, rung xdp": XDP}
_RENEW_S: Final = 1.0
# The queue is full by then, and what is new is warm.
_BEFORE_S: Final = 1.5


@dataclass(slots=True)
class Saturated:
    """How the clients fared; packets a second that the core took in, and how busy it was with them, and with anything
    else that ran on the machine (shares of the core). program_s: the guard's own time for a SYN, None without one.
    sockets: as of syn_cost.SynCost."""

    served: honest.Served
    taken_per_s: float
    busy: float
    others: float
    program_s: float | None
    sockets: int

    @property
    def packet_us(self) -> float:
        """CPU time of the core for one packet."""
        return self.busy / self.taken_per_s * 1e6 if self.taken_per_s else 0.0


def measure(seconds: float) -> list[Saturated]:
    """A row of each at each rate. Raises: BenchError, HalfopenError."""
    return [_row(name, rung, seconds, rate) for rate in RATES for name, rung in ROWS.items()]


def _row(name: str, rung: str | None, seconds: float, rate: int) -> Saturated:
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        lab.server.listen(honest.PORT, backlog=honest.BACKLOG, other_process=True)
        core = stack.enter_context(napi.on_a_core_of_its_own(lab))
        pouring = stack.enter_context(closing(Pouring(lab, honest.frames(lab))))
        guard = stack.enter_context(_guarded(lab, rung)) if rung else None
        told = stack.enter_context(pouring.poured(rate))
        time.sleep(_BEFORE_S)
        at, busy, whole, taken = time.monotonic(), core.cpu_s(), core.core_s(), napi.received(lab)
        found = honest.served(lab, seconds)
        took = time.monotonic() - at
        share, all_share = (core.cpu_s() - busy) / took, (core.core_s() - whole) / took
        taken_per_s = (napi.received(lab) - taken) / took
        program_ns = guard.counts().answer_ns if guard else None
        sockets = sockets_of_machine()
        stack.close()
    served = honest.counted(name, rate, found, told[0])
    program_s = None if program_ns is None else program_ns / 1e9
    return Saturated(served, taken_per_s, share, max(all_share - share, 0.0), program_s, sockets)


@contextmanager
def _guarded(lab: Lab, rung: str) -> Iterator[Armed]:
    ns, over = resolve(lab.server.netns_path), threading.Event()
    action = Protect(identify(ns), ((None, honest.PORT),), "bench", 0.25)
    with as_a_card(lab.server.device), closing(Armed(ns, action, rung)) as armed:

        def renew() -> None:
            while not over.wait(_RENEW_S):
                armed.refresh()

        keeps = threading.Thread(target=renew)
        keeps.start()
        try:
            yield armed
        finally:
            over.set()
            keeps.join()


def as_lines(rows: Sequence[Saturated]) -> Iterator[str]:
    """The table."""
    sockets = max((one.sockets for one in rows), default=0)
    yield f"One core that takes all packets in ({sockets:,} TCP sockets on the machine)"
    yield (
        f"{'SYN/s':>9}  {'defence':20}{'0.25 s':>8}{'1.3 s':>8}{'6 s':>8}{'sent/s':>11}{'taken in/s':>12}"
        f"{'core busy':>11}{'others':>8}{'us each':>9}{'of it ours':>12}"
    )
    for one in rows:
        rates = f"{one.served.took_in_per_s:>11,.0f}{one.taken_per_s:>12,.0f}{one.busy:>11.0%}"
        rates += f"{one.others:>8.0%}{one.packet_us:>9.2f}{f'{one.program_s * 1e6:.2f}' if one.program_s else '':>12}"
        yield (
            f"{one.served.rate:>9,}  {one.served.name:20}"
            + "".join(f"{share:>8}" for share in one.served.shares())
            + rates
        )


def main() -> int:
    """Measure in turns, and print a table a round and the medians of CPU time. Exit code: 0, or 3 not possible here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    rounds = []
    for _ in range(given.rounds):
        try:
            rounds.append(measure(given.seconds))
        except (BenchError, HalfopenError) as e:
            print(f"bench: {e}", file=sys.stderr)
            return 3
        print("\n".join(as_lines(rounds[-1])), flush=True)
    for each in zip(*rounds, strict=True):
        us, one = statistics.median(row.packet_us for row in each), each[0].served
        print(f"{one.rate:>9,}  {one.name:20} median {us:.2f} us a packet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
