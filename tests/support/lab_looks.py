"""What the kernel and `ss` show of the hosts of a lab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halfopen.lab import Lab


def ss_listeners(lab: Lab, port: int) -> list[list[str]]:
    """The listeners at a port: the words of each line."""
    out = lab.server.exec(["ss", "-Hltn", "sport", "=", f":{port}"], check=True).stdout
    return [line.split() for line in out.splitlines()]


def ss_half_open(lab: Lab, port: int) -> list[str]:
    """The lines of half-open connections to a port."""
    out = lab.server.exec(["ss", "-Htan", "state", "syn-recv", "sport", "=", f":{port}"], check=True).stdout
    return out.splitlines()


def proc_half_open(lab: Lab, port: int) -> dict[str, int]:
    """Lines of /proc/net/tcp and tcp6 in SYN_RECV at a local port."""

    def read() -> dict[str, int]:
        found = {}
        for name in ("tcp", "tcp6"):
            rows = [line.split() for line in Path(f"/proc/thread-self/net/{name}").read_text().splitlines()[1:]]
            found[name] = sum(row[3] == "03" and int(row[1].rpartition(":")[2], 16) == port for row in rows)
        return found

    return lab.server.run(read)


def counter(lab: Lab, name: str) -> int:
    """A counter of the kernel, of the lab's server."""
    from halfopen.read import procfs

    return lab.server.run(procfs.counters)[name]
