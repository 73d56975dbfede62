"""The part about memory: what the kernel says of TCP's, of the slabs of sockets, and of the page cache."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class Slab(Struct, frozen=True):
    """One cache of kernel objects: how many there are in use, and bytes each. pages_bytes: what the cache takes."""

    name: str
    objects: int
    object_bytes: int
    pages_bytes: int


class MemoryReading(Struct, frozen=True):
    """Memory of the machine, as far as it has to do with TCP; only minisockets are the namespace's own.

    pages: of tcp_mem that TCP uses. limits: tcp_mem (low, pressure, high), in pages. pressed: whether
    TCP is under pressure; None where not shown. orphans, most_orphans: full sockets that no process holds, and
    tcp_max_orphans. minisockets: of the namespace. slabs: by name; empty for anybody but root. machine: /proc/meminfo
    in bytes. cgroup_limit, cgroup_used: of this process's own cgroup, in bytes; None without a limit.
    """

    page_bytes: int
    pages: int
    limits: tuple[int, int, int]
    pressed: bool | None
    orphans: int
    most_orphans: int
    minisockets: int
    slabs: Mapping[str, Slab] = field(default_factory=dict)
    machine: Mapping[str, int] = field(default_factory=dict)
    cgroup_limit: int | None = None
    cgroup_used: int | None = None

    @property
    def share(self) -> float:
        """Of what begins the pressure, how much is used."""
        return self.pages / self.limits[1] if self.limits[1] else 0.0
