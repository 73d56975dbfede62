"""Dropping the page cache: the action, what it would cost, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class DropCaches(Struct, frozen=True):
    """Write what is dirty to disk, then drop the page cache of the whole machine. No undo: files are read again.

    inodes: unused inodes and dentries too. reason: why, for the record.
    """

    reason: str
    inodes: bool = False


class MachineMemory(Struct, frozen=True):
    """Bytes of the machine, /proc/meminfo's MemFree, Cached, Buffers, Shmem, Mapped, Dirty and SReclaimable."""

    free: int
    cached: int
    buffers: int
    shared: int
    mapped: int
    dirty: int
    reclaimable: int

    @staticmethod
    def of(meminfo: Mapping[str, int]) -> MachineMemory:
        """From /proc/meminfo in bytes, by name; 0 for what is not there."""
        names = ("MemFree", "Cached", "Buffers", "Shmem", "Mapped", "Dirty", "SReclaimable")
        return MachineMemory(*(meminfo.get(name, 0) for name in names))

    @property
    def droppable(self) -> int:
        """File contents that no program has mapped: tmpfs and shared memory are no files on a disk, and stay."""
        return max(0, self.cached - self.shared - self.mapped + self.buffers)


class CachesDropped(Struct, frozen=True):
    """The outcome of a DropCaches. after: None in a dry run. sync_s, drop_s: how long the two steps took."""

    action: DropCaches
    before: MachineMemory
    after: MachineMemory | None = None
    sync_s: float = 0.0
    drop_s: float = 0.0
    problems: tuple[str, ...] = field(default=())

    @property
    def freed(self) -> int:
        """By that many bytes more memory is free; what programs took meanwhile is missing in it."""
        return 0 if self.after is None else self.after.free - self.before.free

    def as_record(self) -> dict[str, Any]:
        """For the audit log."""
        after = self.before if self.after is None else self.after
        return {
            "free_before_bytes": self.before.free,
            "free_after_bytes": after.free,
            "page_cache_before_bytes": self.before.cached,
            "page_cache_after_bytes": after.cached,
            "sync_s": round(self.sync_s, 3),
            "drop_s": round(self.drop_s, 3),
            "problems": list(self.problems),
        }
