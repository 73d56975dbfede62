"""Fields of `memory`: of the reading, of what there is by kind, and of a process."""

from __future__ import annotations

from typing import Final, TypeVar

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.process import PROCESS
from halfopen.core.model.memory import KINDS, ListenerMemory, MemoryModel, MemoryUse, ProcessMemory
from halfopen.core.units import show_bytes

USE: Final[tuple[Field[MemoryUse], ...]] = (
    Field("what", "kind of socket", lambda u: u.what, "string", kind=Kind.LABEL, title="SOCKETS", words=KINDS),
    Field("count", "how many, in the namespace", lambda u: u.count, title="COUNT", show=lambda u: f"{u.count:,}"),
    Field(
        "each_bytes",
        "kernel objects of one, without its buffers",
        lambda u: u.each_bytes,
        unit="bytes",
        title="EACH",
        show=lambda u: show_bytes(u.each_bytes),
    ),
    Field(
        "slab_bytes",
        "the same for all of them",
        lambda u: u.slab_bytes,
        unit="bytes",
        title="OBJECTS",
        show=lambda u: show_bytes(u.slab_bytes),
    ),
    Field(
        "pages",
        "pages of `tcp_mem` that their buffers hold; null for those that have none",
        lambda u: u.pages,
        "number or null",
        title="BUFFER PAGES",
        show=lambda u: "-" if u.pages is None else f"{u.pages:,}",
    ),
)


_Holder = TypeVar("_Holder", ProcessMemory, ListenerMemory)


def _held(of: type[_Holder]) -> tuple[Field[_Holder], ...]:
    """What the connections of a process, or of those that came to a port, hold."""
    return (
        Field("count", "connections", lambda p: p.count, title="CONNECTIONS", show=lambda p: f"{p.count:,}"),
        Field(
            "slab_bytes",
            "kernel objects, without buffers",
            lambda p: p.slab_bytes,
            unit="bytes",
            title="OBJECTS",
            show=lambda p: show_bytes(p.slab_bytes),
            spare=1,
        ),
        Field("pages", "pages of `tcp_mem`", lambda p: p.pages, title="BUFFER PAGES", show=lambda p: f"{p.pages:,}"),
        Field(
            "unread_bytes",
            "bytes that the program has not read",
            lambda p: p.unread_bytes,
            unit="bytes",
            title="UNREAD",
            show=lambda p: show_bytes(p.unread_bytes),
        ),
    )


def _owner(p: ProcessMemory) -> str:
    return str(p.pid) if p.process is None else f"{p.process.name} {p.pid}"


MEMORY_OF_PROCESS: Final[tuple[Field[ProcessMemory], ...]] = (
    Field(
        "process",
        "`pid`, `name`, `unit`, `container`, `container_name`; null where it ended",
        lambda p: None if p.process is None else json_object(PROCESS, p.process),
        "object or null",
        kind=Kind.LABEL,
        title="PROCESS",
        show=_owner,
    ),
    *_held(ProcessMemory),
)

MEMORY_OF_LISTENER: Final[tuple[Field[ListenerMemory], ...]] = (
    Field(
        "port", "port that is listened on", lambda p: p.port, kind=Kind.LABEL, title="PORT", show=lambda p: f":{p.port}"
    ),
    Field(
        "half_open",
        "half-open connections",
        lambda p: p.half_open,
        title="HALF-OPEN",
        show=lambda p: f"{p.half_open:,}",
    ),
    *_held(ListenerMemory),
)

MEMORY: Final[tuple[Field[MemoryModel], ...]] = (
    Field("page_bytes", "size of a page", lambda m: m.reading.page_bytes, unit="bytes"),
    Field("pages", "pages that TCP holds on the whole machine", lambda m: m.reading.pages),
    Field(
        "limits_pages",
        "`tcp_mem`: low, pressure, high",
        lambda m: list(m.reading.limits),
        "array",
    ),
    Field(
        "under_pressure",
        "whether TCP is under memory pressure; null where that cannot be read",
        lambda m: m.reading.pressed,
        "boolean or null",
    ),
    Field("orphans", "full sockets on the whole machine that no process holds", lambda m: m.reading.orphans),
    Field("orphans_limit", "`tcp_max_orphans`", lambda m: m.reading.most_orphans),
    Field(
        "slabs_known",
        "false where /proc/slabinfo cannot be read and the sizes are those of Linux 6.18",
        lambda m: bool(m.reading.slabs),
        "boolean",
    ),
    Field(
        "pinned_bytes",
        "inodes and dentries of open sockets, which count as reclaimable but cannot be reclaimed",
        lambda m: m.pinned_bytes,
        unit="bytes",
    ),
    Field(
        "cgroup_limit_bytes",
        "memory limit of the cgroup that halfopen runs in; null without a limit",
        lambda m: m.reading.cgroup_limit,
        "number or null",
        "bytes",
    ),
    Field("cgroup_used_bytes", "the same", lambda m: m.reading.cgroup_used, "number or null", "bytes"),
    Field(
        "page_cache_bytes",
        "`Cached` of the machine: file contents, which the kernel frees of its own accord when memory is needed",
        lambda m: m.reading.machine.get("Cached"),
        "number or null",
        "bytes",
    ),
    Field(
        "available_bytes",
        "`MemAvailable` of the machine",
        lambda m: m.reading.machine.get("MemAvailable"),
        "number or null",
        "bytes",
    ),
)
