"""Handshakes that their clients end themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.few_hosts import FEW_HOSTS, HELD
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.rules.flood import is_flood
from halfopen.core.findings.rules.scan import scanners
from halfopen.core.findings.slow import slow
from halfopen.core.model.prefixes import Prefix, is_v4

_LEAST_PER_S: Final = 1.0
# A load balancer checks from a few addresses; where nobody has this share, clients reset.
_CHECKS: Final = 0.1


@rule(
    "health-checks",
    Level.NOTICE,
    needs=(Need.RATES,),
    title="clients reset handshakes before they complete",
    rare=True,
    doc="clients reset handshakes (`EmbryonicRsts`), fewer than finish or, by eBPF, from at most "
    "8 addresses, and hardly any SYN comes to a port on which nobody listens",
    unless="SYNs come to closed ports as well, most of these RSTs are those of a scan, accept queues "
    "overflow, handshakes finish late, or most SYN-ACKs are never answered",
    advice="nothing: health checks of a load balancer do that and, from many addresses, clients that "
    "begin two connections and keep the faster one; nothing stays half-open",
)
def health_checks(e: Evidence) -> Iterator[Hit]:
    reset = e.rate("EmbryonicRsts")
    if reset < _LEAST_PER_S or is_flood(e) or e.rate("OutRsts") > reset:
        return
    if reset > e.completions_per_s and not 0 < resetting(e)[1] <= FEW_HOSTS:
        return
    if slow(e) is not None:
        return  # clients that wait for too long give up, and reset what comes later
    if e.rate("ListenOverflows"):
        return  # the ACKs of clients are ignored, and those that give up reset what the kernel kept
    facts = (
        Fact("EmbryonicRsts_per_s", round(reset, 1), unit="per_s"),
        Fact("completions_per_s", round(e.completions_per_s, 1), unit="per_s"),
        Fact("OutRsts_per_s", round(e.rate("OutRsts"), 1), unit="per_s"),
    )
    if not _mostly_scanned(e):
        yield Hit(Level.NOTICE, (*facts, *_by_whom(e)))


def resetting(e: Evidence) -> tuple[int, int]:
    """How many sources reset handshakes, and how many of them send most of these RSTs; 0 where it was not counted."""
    arrived = e.now.arrived
    if arrived is None or not arrived.packets or not arrived.sources["resets"].any():
        return 0, 0
    place = np.unique(arrived.sources["number"], return_inverse=True)[1]
    counts = -np.sort(-np.bincount(place, arrived.sources["resets"]))
    most = int(np.searchsorted(np.cumsum(counts), HELD * counts.sum())) + 1
    return int(np.count_nonzero(counts)), most


def _mostly_scanned(e: Evidence) -> bool:
    """Whether most of these RSTs are those of sources that try one listener after another."""
    numbers = scanners(e)
    if not len(numbers) or e.now.arrived is None:
        return False
    rows = e.now.arrived.sources
    theirs = rows["resets"][np.isin(rows["number"], numbers)]
    return int(theirs.sum()) * 2 > int(rows["resets"].sum())


def _by_whom(e: Evidence) -> tuple[Fact, ...]:
    """Where they were counted, the source that resets most with its share of these RSTs, or how many sources do."""
    arrived = e.now.arrived
    if arrived is None or not arrived.packets:
        return ()
    rows = arrived.sources
    numbers, place = np.unique(rows["number"], return_inverse=True)
    resets = np.bincount(place, rows["resets"], len(numbers))
    if not resets.sum():
        return ()
    first = int(np.argmax(resets))
    share = float(resets[first] / resets.sum())
    if share < _CHECKS:
        return (Fact("resetting_sources", int(np.count_nonzero(resets))),)
    version, bits = (4, 32) if is_v4(numbers)[first] else (6, 64)
    source = Prefix(version, int(numbers[first]), bits).text
    return Fact("source", source), Fact("source_share", round(share, 4))
