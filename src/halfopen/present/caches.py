"""What `memory drop-caches` asks, and says came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from halfopen.core.fields.caches import DROPPED
from halfopen.core.fields.field import json_object
from halfopen.core.policy.caches import CachesDropped, MachineMemory
from halfopen.core.units import printable, show_bytes


def document(outcome: CachesDropped) -> dict[str, Any]:
    """`halfopen.drop-caches/1`."""
    return {"schema": "halfopen.drop-caches/1", **json_object(DROPPED, outcome)}


def costs(before: MachineMemory, *, inodes: bool) -> Iterator[str]:
    """What dropping would cost, in lines."""
    more = f" and what can go of {show_bytes(before.reclaimable)} of inodes and dentries" if inodes else ""
    yield f"drops up to {show_bytes(before.droppable)} of file contents{more}, of every program on the whole machine;"
    yield f"before that {show_bytes(before.dirty)} are written to disk, for however long the disk takes."
    yield "Every program then reads its files from disk again. No socket is freed, and the kernel gives up"
    yield "file contents by itself where memory is needed."


def question(before: MachineMemory, *, inodes: bool) -> str:
    """The question before it, its last line."""
    what = "the page cache, inodes and dentries" if inodes else "the page cache"
    return f"drop {what} of this machine, up to {show_bytes(before.droppable)}?"


def lines(outcome: CachesDropped) -> Iterator[str]:
    """The outcome for a person."""
    if outcome.after is None:
        yield from costs(outcome.before, inodes=outcome.action.inodes)
        yield "nothing was changed"
        return
    before, after = outcome.before, outcome.after
    yield (
        f"page cache {show_bytes(before.cached)} before, {show_bytes(after.cached)} after; "
        f"free {show_bytes(before.free)} before, {show_bytes(after.free)} after"
    )
    yield f"{outcome.sync_s:.1f} s to write what was dirty, {outcome.drop_s:.1f} s to drop"
    if before.reclaimable:
        stays = "of which the objects of open sockets cannot go"
        yield (
            f"reclaimable slab {show_bytes(before.reclaimable)} before, {show_bytes(after.reclaimable)} after, {stays}"
        )
    yield from map(printable, outcome.problems)
