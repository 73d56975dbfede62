"""Sources that try one listener after another and reset what answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.sources import SOME
from halfopen.core.model.arrived import ArrivedFlow
from halfopen.core.model.distinct import distinct
from halfopen.core.model.prefixes import Prefix, is_v4

_PORTS: Final = 3
_RESET: Final = 0.5
_FINISHED: Final = 0.1
# More of them are told together.
_APART: Final = 3
_RULES_OUT: Final = ("few-sources-flood", "spoofed-flood")


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
    arrived, numbers = e.now.arrived, scanners(e)
    if arrived is None or not len(numbers):
        return
    rows = arrived.sources[np.isin(arrived.sources["number"], numbers)]
    syns = [int(rows["syns"][rows["number"] == number].sum()) for number in numbers]
    apart = [numbers[i : i + 1] for i in range(len(numbers))] if len(numbers) <= _APART else [numbers]
    for some in apart:
        first = some[0] if len(some) == 1 else numbers[int(np.argmax(syns))]
        yield Hit(Level.NOTICE, _facts(e, rows[np.isin(rows["number"], some)], first, len(some)), rules_out=_RULES_OUT)


def _facts(e: Evidence, rows: NDArray[Any], first: np.uint64, sources: int) -> tuple[Fact, ...]:
    """rows (N,) SOURCE: of that many scanners; first: the one that sends most."""
    flow = ArrivedFlow(0.0) if e.now.arrived is None else e.now.arrived.all
    version, bits = (4, 32) if is_v4(np.array([first]))[0] else (6, 64)
    return (
        Fact("source", Prefix(version, int(first), bits).text),
        *((Fact("scanners", sources),) if sources > 1 else ()),
        Fact("ports", len(distinct(rows["port"][rows["syns"] > 0])), _PORTS),
        Fact("syns_per_s", round(flow.per_s(int(rows["syns"].sum())), 1), unit="per_s"),
        Fact("resets_per_s", round(flow.per_s(int(rows["resets"].sum())), 1), unit="per_s"),
        Fact("finished", int(rows["finished"].sum())),
    )
