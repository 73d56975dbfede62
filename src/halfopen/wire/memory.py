"""Texts of /proc about memory: sockstat, protocols, slabinfo, meminfo."""

from __future__ import annotations

from typing import Final

from halfopen.core.sample.memory import Slab

# The slab caches that sockets are allocated from.
SLABS: Final = (
    *("TCP", "TCPv6", "tw_sock_TCP", "tw_sock_TCPv6", "request_sock_TCP", "request_sock_TCPv6"),
    *("sock_inode_cache", "filp", "dentry"),
)


def sockstat(text: str) -> dict[str, int]:
    """The numbers of the line TCP: inuse, orphan, tw, alloc, mem (net/ipv4/proc.c, `sockstat_seq_show()`)."""
    line = next((line for line in text.splitlines() if line.startswith("TCP:")), "")
    words = line.split()[1:]
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}


def pressed(text: str) -> bool | None:
    """Whether TCP is under memory pressure, by the column `press` of /proc/net/protocols; None if it is missing."""
    head, *lines = [line.split() for line in text.splitlines()] or [[]]
    if "press" not in head:
        return None
    at = head.index("press")
    found = [line[at] for line in lines if len(line) > at and line[0] in ("TCP", "TCPv6")]
    return "yes" in found if found else None


def slabs(text: str, page_bytes: int) -> dict[str, Slab]:
    """The caches in SLABS of /proc/slabinfo, version 2.1, by name."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 14 and words[0] in SLABS and all(words[i].isdigit() for i in (1, 3, 5, 14)):
            taken = int(words[14]) * int(words[5]) * page_bytes
            found[words[0]] = Slab(words[0], int(words[1]), int(words[3]), taken)
    return found


def meminfo(text: str) -> dict[str, int]:
    """The values of /proc/meminfo in bytes, by name."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[0].isdigit() and words[1] == "kB":
            found[name] = int(words[0]) * 1024
    return found
