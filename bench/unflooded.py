"""Honest clients without a flood, where packets are handed up by the batch (threaded NAPI): without a guard, with one
that is armed and below its share of the queue, and with one that answers every SYN.

Measured with protect.py: python bench/run.py --only protect [--quick].
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import honest
import napi
from forging import armed

from halfopen.lab import Lab

ROWS: Final[dict[str, float | None]] = {"no guard": None, "armed, below its share": 0.25, "answers every SYN": 0.0}


@dataclass(slots=True)
class Unflooded:
    """How long clients took from connect() to the answer (s); those started; what the guard took in of them."""

    name: str
    clients: int = 0
    took_s: list[float] = field(default_factory=list)
    by_guard: int = 0

    @property
    def immediate(self) -> float:
        """The share answered before anything could have been sent again."""
        return sum(one <= honest.IMMEDIATE_S for one in self.took_s) / max(self.clients, 1)

    def at(self, percent: int) -> float:
        """So many percent took no longer (s)."""
        return statistics.quantiles(self.took_s, n=100)[percent - 1] if len(self.took_s) > 1 else 0.0


def measure(rounds: int, seconds: float) -> list[Unflooded]:
    """The rows, in turns. Raises: BenchError, HalfopenError."""
    rows = {name: Unflooded(name) for name in ROWS}
    with Lab() as lab:
        lab.server.listen(honest.PORT, backlog=honest.BACKLOG, other_process=True)
        with napi.on_a_core_of_its_own(lab):
            for _ in range(rounds):
                for name, share in ROWS.items():
                    guarded: Any = nullcontext() if share is None else closing(armed(lab, share))
                    with guarded as guard:
                        found = honest.served(lab, seconds)
                        rows[name].by_guard += guard.counts().accepted if guard else 0
                    rows[name].clients += found["started"]
                    rows[name].took_s += [took for took, _ in found["took"]]
    return [*rows.values()]


def as_lines(rows: Sequence[Unflooded]) -> Iterator[str]:
    """The table."""
    yield "Honest clients without a flood, from connect() to the answer"
    yield f"{'':24}{'clients':>8}{'0.25 s':>8}{'by guard':>10}{'p50 ms':>9}{'p99 ms':>9}"
    for one in rows:
        yield (
            f"{one.name:24}{one.clients:>8,}{one.immediate:>8.1%}{one.by_guard:>10,}"
            f"{one.at(50) * 1000:>9.2f}{one.at(99) * 1000:>9.2f}"
        )
