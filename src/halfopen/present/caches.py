"""What `memory drop-caches` asks, and says came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console

from halfopen.core.fields.caches import DROPPED
from halfopen.core.fields.field import json_object
from halfopen.core.policy.caches import CachesDropped, MachineMemory
from halfopen.core.units import show_bytes
from halfopen.present.language import listed, spoken, tr
from halfopen.present.prose import rows
from halfopen.present.told import told


def document(outcome: CachesDropped) -> dict[str, Any]:
    """`halfopen.drop-caches/1`."""
    return {"schema": "halfopen.drop-caches/1", **json_object(DROPPED, outcome)}


def costs(before: MachineMemory, *, inodes: bool) -> list[str]:
    """What dropping would cost, a sentence or two each."""
    values = {"size": show_bytes(before.droppable), "slab": show_bytes(before.reclaimable)}
    what = tr("Drops up to {size} of file contents, of every program on the whole machine", **values)
    if inodes:
        what = tr(
            "Drops up to {size} of file contents, and as much as can be freed of {slab} of inodes "
            "and dentries, of every program on the whole machine",
            **values,
        )
    first = tr(
        "before that, {size} of dirty data is written to disk, however long the disk takes.",
        size=show_bytes(before.dirty),
    )
    then = tr(
        "Every program then reads its files from disk again. No socket is freed, and the kernel "
        "drops file contents of its own accord when memory is needed."
    )
    return [listed([what, first]), then]


def question(before: MachineMemory, *, inodes: bool) -> tuple[list[str], str, str]:
    """What it costs, the question, and what a no comes to, in the language of the reader."""
    with spoken():
        size = show_bytes(before.droppable)
        asked = tr("Drop the page cache of this machine, up to {size}?", size=size)
        if inodes:
            asked = tr("Drop the page cache, inodes and dentries of this machine, up to {size}?", size=size)
        return costs(before, inodes=inodes), asked, tr("nothing was changed")


def show(out: Console, outcome: CachesDropped) -> None:
    """The outcome for a person, in the language of the reader."""
    with spoken():
        rows(out, [[line] for line in lines(outcome)])


def lines(outcome: CachesDropped) -> Iterator[str]:
    """The outcome as lines, in the language that is spoken."""
    if outcome.after is None:
        yield from costs(outcome.before, inodes=outcome.action.inodes)
        yield tr("nothing was changed")
        return
    before, after = outcome.before, outcome.after
    pairs = (("cached", before.cached, after.cached), ("free", before.free, after.free))
    sizes = {
        f"{name}_{when}": show_bytes(n) for name, *both in pairs for when, n in zip(("then", "now"), both, strict=True)
    }
    yield tr("page cache {cached_then} before, {cached_now} after; free {free_then} before, {free_now} after", **sizes)
    times = {"sync": f"{outcome.sync_s:.1f}", "drop": f"{outcome.drop_s:.1f}"}
    yield tr("{sync} s to write dirty data, {drop} s to drop", **times)
    if before.reclaimable:
        yield tr(
            "reclaimable slab {then} before, {now} after; objects of open sockets in it cannot be freed",
            then=show_bytes(before.reclaimable),
            now=show_bytes(after.reclaimable),
        )
    yield from map(told, outcome.problems)
