"""What `protect status` and `protect off` say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from halfopen.core.fields.guard import guard_counts
from halfopen.core.policy.actions import Unprotected
from halfopen.core.sample.guard import GuardCounts
from halfopen.core.units import plural, show_duration
from halfopen.present.language import tr, tr_n


class GuardShown(Protocol):
    """A guard, as ops.protect.shown finds it."""

    @property
    def netns(self) -> str: ...
    @property
    def netns_inode(self) -> int: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def process(self) -> str | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def devices(self) -> int: ...
    @property
    def answers(self) -> bool: ...
    @property
    def share(self) -> float: ...
    @property
    def counts(self) -> GuardCounts: ...


def lines(found: Sequence[GuardShown]) -> Iterator[str]:
    """Each guard in two lines."""
    if not found:
        yield "no guard is armed on this machine"
    for one in found:
        yield line(one, one.netns)
        yield f"  {summary(one.counts)}"


def line(one: GuardShown, netns: str) -> str:
    """Where it is, who holds it, and since when."""
    holder = "a process that is hidden" if one.pid is None else f"{one.process or 'process'} {one.pid}"
    where = "" if netns == "self" else f"in {netns} "
    state = f"answers from {one.share:.0%} of a SYN queue on" if one.answers else "is being taken off"
    held = f"held by {holder} for {show_duration(int(one.seconds))}"
    return f"guard {where}on {plural(one.devices, 'device')}, {held}, {state}"


def summary(counts: GuardCounts) -> str:
    """What it counted, in a few words."""
    syns = tr_n("{n:,} SYN", "{n:,} SYNs", counts.syns)
    let_in = tr_n("{n:,} client let in", "{n:,} clients let in", counts.accepted)
    return tr(", ").join((syns, tr("{n:,} answered", n=counts.answered), let_in))


def document(found: Sequence[GuardShown]) -> dict[str, Any]:
    """`halfopen.protect-status/1`."""
    return {"schema": "halfopen.protect-status/1", "guards": [guard(one) for one in found]}


def guard(one: GuardShown) -> dict[str, Any]:
    """One guard, in `protect status` and in `status`."""
    return {
        "netns": one.netns,
        "netns_inode": one.netns_inode,
        "pid": one.pid,
        "process": one.process,
        "seconds": round(one.seconds, 3),
        "devices": one.devices,
        "answers": one.answers,
        "share": round(one.share, 4),
        "counts": guard_counts(one.counts),
    }


def off(outcome: Unprotected) -> str:
    """What was ended."""
    held = ", ".join(map(str, outcome.pids))
    return f"{plural(len(outcome.pids), 'guard')} off, in order (process {held})" if held else "no guard was ended"


def off_document(outcome: Unprotected) -> dict[str, Any]:
    """`halfopen.protect-off/1`."""
    return {
        "schema": "halfopen.protect-off/1",
        "netns": outcome.action.netns,
        "pids": list(outcome.pids),
        "problems": list(outcome.problems),
    }
