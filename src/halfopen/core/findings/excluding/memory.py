"""What excludes the causes about TCP's memory."""

from __future__ import annotations

from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import Against, excluded
from halfopen.core.findings.finding import Fact
from halfopen.core.findings.rules.memory import PRUNED


@excluded("memory-pressure")
def _pressure(e: Evidence) -> Against:
    if e.memory is None or e.memory.pressed:
        return ()
    return (Fact("pages", e.memory.pages, e.memory.limits[1]),)


@excluded("orphans-near-limit")
def _orphans(e: Evidence) -> Against:
    return () if e.memory is None else (Fact("orphans", e.memory.orphans, e.memory.most_orphans),)


@excluded("receiver-pruned")
def _pruned(e: Evidence) -> Against:
    if e.memory is None or any(e.total(name) for name in PRUNED):
        return ()
    return (Fact("PruneCalled", 0),)
