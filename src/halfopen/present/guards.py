"""What `protect status` and `protect off` say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from halfopen.core.fields.guard import guard_counts
from halfopen.core.policy.actions import Unprotected
from halfopen.core.sample.guard import TC, FoundGuard, GuardCounts
from halfopen.present.findings.words import lasted
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
    @property
    def by_policy(self) -> bool: ...
    @property
    def rung(self) -> str: ...


def lines(found: Sequence[GuardShown]) -> Iterator[str]:
    """Each guard in two lines."""
    if not found:
        yield tr("no guard is armed on this machine")
    for one in found:
        yield line(one, one.netns)
        yield f"  {summary(one.counts)}"


def line(one: GuardShown, netns: str) -> str:
    """Where it is, who holds it, and since when."""
    where = tr("guard") if netns == "self" else tr("guard in {netns}", netns=netns)
    by = tr(" (policy protect)") if one.by_policy else ""
    if one.pid is None:
        holder = tr("a process that is hidden")
    else:
        holder = f"{one.process} {one.pid}" if one.process else tr("process {pid}", pid=one.pid)
    parts = [
        tr_n("{where} on {n} device", "{where} on {n} devices", one.devices, where=where),
        tr("held by {holder}{by} for {time}", holder=holder, by=by, time=lasted(int(one.seconds))),
        answers(one),
        *((tr("rung {rung}", rung=one.rung),) if one.rung != TC else ()),
    ]
    return tr(", ").join(parts)


def answers(one: GuardShown | FoundGuard) -> str:
    """From which share of a SYN queue on it answers, if it does."""
    if not one.answers:
        return tr("is being taken off")
    return tr("answers from {share} of a SYN queue on", share=f"{one.share:.0%}")


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
        "by_policy": one.by_policy,
        "rung": one.rung,
        "counts": guard_counts(one.counts),
    }


def off(outcome: Unprotected) -> str:
    """What was ended."""
    if not outcome.pids:
        return tr("no guard was ended")
    return tr_n(
        "{n} guard off, in order (process {held})",
        "{n} guards off, in order (process {held})",
        len(outcome.pids),
        held=", ".join(map(str, outcome.pids)),
    )


def off_document(outcome: Unprotected) -> dict[str, Any]:
    """`halfopen.protect-off/1`."""
    return {
        "schema": "halfopen.protect-off/1",
        "netns": outcome.action.netns,
        "pids": list(outcome.pids),
        "problems": list(outcome.problems),
    }
