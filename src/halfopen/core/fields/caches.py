"""Fields of the outcome of `memory drop-caches`."""

from __future__ import annotations

from typing import Final

from halfopen.core.fields.field import Field
from halfopen.core.policy.caches import CachesDropped

DROPPED: Final[tuple[Field[CachesDropped], ...]] = (
    Field("inodes", "whether unused inodes and dentries were to be dropped too", lambda o: o.action.inodes, "boolean"),
    Field("dry_run", "nothing was changed", lambda o: o.after is None, "boolean"),
    Field("droppable_bytes", "file contents that no program had mapped", lambda o: o.before.droppable, unit="bytes"),
    Field("dirty_bytes", "file contents not yet written to disk", lambda o: o.before.dirty, unit="bytes"),
    Field("page_cache_before_bytes", "`Cached` before", lambda o: o.before.cached, unit="bytes"),
    Field(
        "page_cache_after_bytes",
        "and after; null in a dry run, like the next three",
        lambda o: None if o.after is None else o.after.cached,
        "number or null",
        "bytes",
    ),
    Field(
        "free_more_bytes",
        "by how much `MemFree` grew",
        lambda o: None if o.after is None else o.freed,
        "number or null",
        "bytes",
    ),
    Field(
        "reclaimable_less_bytes",
        "by how much `SReclaimable` shrank; it includes the objects of open sockets, which cannot be freed",
        lambda o: None if o.after is None else o.before.reclaimable - o.after.reclaimable,
        "number or null",
        "bytes",
    ),
    Field("sync_s", "how long it took to write dirty data", lambda o: round(o.sync_s, 3), unit="s"),
    Field("drop_s", "how long it took to drop", lambda o: round(o.drop_s, 3), unit="s"),
    Field(
        "problems", "what could not be done; the exit code is then 1", lambda o: list(o.problems), "array of strings"
    ),
)
