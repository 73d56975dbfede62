"""Settings of the whole machine that only the first network namespace shows: tcp_mem, tcp_max_orphans."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.linux import proc, small_files
from halfopen.linux.netns import Netns

_ANCESTORS: Final = 16


def text(name: str) -> str:
    """A setting below /proc/sys/net/ipv4, from the calling thread's namespace if it is there, otherwise from that of
    process 1 or of an ancestor of this process; empty if none has it.
    """
    path = f"/proc/sys/net/ipv4/{name}"
    found = small_files.text(path)
    if found:
        return found
    tried = {os.stat("/proc/thread-self/ns/net").st_ino}
    for pid in _first_namespace():
        at = f"/proc/{pid}/ns/net"
        try:
            inode = os.stat(at).st_ino
            if inode not in tried:
                tried.add(inode)
                found = Netns(f"pid:{pid}", inode, at).run(lambda: small_files.text(path))
        except (HalfopenError, OSError):
            continue
        if found:
            return found
    return ""


def _first_namespace() -> Iterator[int]:
    """Processes that may live in the first network namespace."""
    yield 1
    pid = os.getpid()
    for _ in range(_ANCESTORS):
        fields = proc.stat_fields(pid)
        pid = int(fields[1]) if len(fields) > 1 else 0
        if pid <= 1:
            return
        yield pid
