"""Rules about the memory of TCP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.policy.actions import Look

_NEEDS: Final = (Need.MEMORY,)
_NEAR: Final = 0.8
_HALF: Final = 0.5
_MANY: Final = 100
# What a receiver that is short of memory threw away; a limit of a cgroup shows in nothing else.
PRUNED: Final = ("PruneCalled", "RcvPruned", "OfoPruned", "TCPRcvQDrop")


@rule(
    "memory-pressure",
    *(Level.WARNING, Level.CRITICAL),
    title="TCP is short of memory",
    doc="TCP is under memory pressure (`/proc/net/protocols`), or uses four fifths of the threshold "
    "of pressure (`tcp_mem`); critical under pressure: windows shrink, and above the highest "
    "limit connections are reset",
    unless="TCP uses less and is under no pressure",
    advice="`halfopen memory` shows whose connections hold the memory: make the programs read; a larger `tcp_mem`",
    needs=_NEEDS,
    rare=True,
)
def memory_pressure(e: Evidence) -> Iterator[Hit]:
    memory = e.memory
    if memory is None or not (memory.pressed or memory.share >= _NEAR):
        return
    level = Level.CRITICAL if memory.pressed or memory.share >= 1 else Level.WARNING
    facts = (Fact("pages", memory.pages, memory.limits[1]), Fact("pressed", int(bool(memory.pressed))))
    yield Hit(level, facts, cures=((Look(e.netns, "closing", "memory-pressure"),),))


@rule(
    "orphans-near-limit",
    *(Level.WARNING, Level.CRITICAL),
    title="connections that no process holds reach their limit",
    doc="connections that no process holds reach half of `tcp_max_orphans`; critical from four "
    "fifths on: above the limit they are reset (`TCPAbortOnMemory`)",
    unless="there are fewer",
    advice="peers vanish while connections are closed towards them: `halfopen closing list --kind retrying`",
    needs=_NEEDS,
    rare=True,
)
def orphans_near_limit(e: Evidence) -> Iterator[Hit]:
    memory = e.memory
    if memory is None or not memory.most_orphans or memory.orphans < _HALF * memory.most_orphans:
        return
    level = Level.CRITICAL if memory.orphans >= _NEAR * memory.most_orphans else Level.WARNING
    cures = ((Look(e.netns, "closing list --kind retrying", "orphans-near-limit"),),)
    yield Hit(level, (Fact("orphans", memory.orphans, memory.most_orphans),), cures=cures)


@rule(
    "receiver-pruned",
    *(Level.OK, Level.NOTICE),
    title="received data was discarded for lack of memory",
    doc="`PruneCalled`, `RcvPruned`, `OfoPruned` or `TCPRcvQDrop` have risen since the namespace was "
    "made: to the sender it looks like packet loss; a notice from a hundred on",
    unless="none of these counters has risen",
    advice="a program that reads too slowly, a small receive buffer (`tcp_rmem`), or a memory limit of its cgroup",
    needs=_NEEDS,
    rare=True,
)
def receiver_pruned(e: Evidence) -> Iterator[Hit]:
    facts = tuple(Fact(name, e.total(name)) for name in PRUNED if e.total(name))
    if facts:
        many = sum(e.total(name) for name in PRUNED) >= _MANY
        yield Hit(Level.NOTICE if many else Level.OK, facts)
