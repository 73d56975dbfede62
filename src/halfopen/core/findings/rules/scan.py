"""Sources that try one listener after another and reset what answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.sources import SOME
from halfopen.core.model.prefixes import Prefix, is_v4

_PORTS: Final = 3
_RESET: Final = 0.5
_FINISHED: Final = 0.1


def scanners(e: Evidence) -> NDArray[np.uint64]:
    """The sources that try one listener after another, numbers (K,); none where packets were not counted."""
    arrived = e.now.arrived
    if arrived is None or not arrived.packets:
        return np.empty(0, dtype=np.uint64)
    rows = arrived.sources
    numbers, place = np.unique(rows["number"], return_inverse=True)
    syns, resets, finished = (np.bincount(place, rows[name], len(numbers)) for name in ("syns", "resets", "finished"))
    ports = np.bincount(place, rows["syns"] > 0, len(numbers))
    many = (ports >= _PORTS) & (resets >= SOME) & (resets >= _RESET * syns)
    found: NDArray[np.uint64] = numbers[many & (finished <= _FINISHED * syns)]
    return found


@rule(
    "scan",
    Level.NOTICE,
    needs=(Need.RATES,),
    title="a scan",
    doc="one source sends SYNs to three or more listeners, resets most connections that are "
    "answered, and finishes next to none",
    unless="the source finishes handshakes, or sends SYNs to one or two listeners only",
    advice="nothing: a connection that was reset is no longer half-open. `halfopen block` only a "
    "source that you know: the owner of a forged address answers with RSTs as well",
    rare=True,
)
def scan(e: Evidence) -> Iterator[Hit]:
    arrived = e.now.arrived
    if arrived is None or not arrived.packets:
        return
    numbers = scanners(e)
    for number, v4 in zip(numbers.tolist(), is_v4(numbers).tolist(), strict=True):
        theirs = arrived.sources[arrived.sources["number"] == number]
        version, bits = (4, 32) if v4 else (6, 64)
        facts = (
            Fact("source", Prefix(version, number, bits).text),
            Fact("ports", int(np.count_nonzero(theirs["syns"])), _PORTS),
            Fact("syns_per_s", round(arrived.all.per_s(int(theirs["syns"].sum())), 1), unit="per_s"),
            Fact("resets_per_s", round(arrived.all.per_s(int(theirs["resets"].sum())), 1), unit="per_s"),
            Fact("finished", int(theirs["finished"].sum())),
        )
        yield Hit(Level.NOTICE, facts, rules_out=("few-sources-flood", "spoofed-flood"))
