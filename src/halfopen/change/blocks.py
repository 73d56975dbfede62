"""Blocks of sources: a table of ours in nf_tables, in the namespace of the calling thread, whose elements the kernel
removes when their time is up. Changed by the `nft` command, which gets only numbers and prefixes, never a user's text.
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError, MustNotBlock, NotPermitted, Unsupported
from halfopen.core.units import Network, show_duration
from halfopen.linux import files

TABLE: Final = "halfopen_blocks"
_SETS: Final = {4: "sources_v4", 6: "sources_v6"}
_ALL_PORTS: Final = "0-65535"
# Before connection tracking, so that a flood does not fill its table.
_PRIORITY: Final = -300
_WITHIN_S: Final = 30.0
# How long to wait for another command. Any process of the namespace could hold the lock forever, so not longer.
_TURN_S: Final = 5.0
# Reloading a firewall (`nft flush ruleset`) removes our table: create it and try again, this often.
_TRIES: Final = 5
_MAKE: Final = f"""
table inet {TABLE} {{
  set {_SETS[4]} {{ type ipv4_addr . inet_service; flags interval, timeout; }}
  set {_SETS[6]} {{ type ipv6_addr . inet_service; flags interval, timeout; }}
  chain prerouting {{
    type filter hook prerouting priority {_PRIORITY}; policy accept;
    ip saddr . tcp dport @{_SETS[4]} counter drop
    ip6 saddr . tcp dport @{_SETS[6]} counter drop
  }}
}}
"""


class BlockedSource(Struct, frozen=True):
    """A blocked source: for one port or all (None), with the seconds that are left."""

    source: Network
    port: int | None
    left_s: float


def blocked() -> list[BlockedSource]:
    """The blocks of this namespace. Raises: Unsupported without the nft command, NotPermitted, HalfopenError "nft"."""
    found: list[BlockedSource] = []
    document = _document()
    for one in document:
        for element in one.get("set", {}).get("elem", ()):
            found.append(_parsed(element))
    return sorted(found, key=lambda one: (one.source.version, one.source.network_address, one.source.prefixlen))


def block(sources: Sequence[Network], port: int | None, for_s: float) -> None:
    """Block sources for `for_s` seconds from now; the time of an existing block is set anew.

    All sources or, if that fails, none. Raises: MustNotBlock if a block would overlap another; as `blocked`.
    """
    with _alone():
        for tries_left in reversed(range(_TRIES)):
            there = blocked()
            must_not_overlap(sources, port, there)
            lines = [] if _document() else [_MAKE]
            for source in sources:
                # Delete an existing block first, to set its time anew. It is added before that, because nft would
                # refuse to delete a block that has just expired.
                lines += [_change("add", source, port), _change("delete", source, port)]
                lines.append(_change("add", source, port, f" timeout {math.ceil(for_s)}s"))
            try:
                _nft("\n".join(lines))
                return
            except _Missing:
                if not tries_left:
                    raise HalfopenError("nft", f"another program removes the table {TABLE} of nf_tables") from None


def unblock(gone: Iterable[BlockedSource]) -> None:
    """Remove these blocks, and the table with the last block. Raises: as `blocked`."""
    ends = {(one.source, one.port) for one in gone}
    with _alone():
        try:
            if ends.issuperset((one.source, one.port) for one in blocked()):
                _nft(f"delete table inet {TABLE}")
                return
            # Added before it is deleted, because nft would refuse to delete a block that has just expired.
            _nft("\n".join(_change(word, *one) for one in ends for word in ("add", "delete")))
        except _Missing:  # the table is gone, and all blocks with it
            return


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other commands from changing the blocks of this namespace meanwhile."""
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        files.lock(fd, _TURN_S)
        yield
    finally:
        os.close(fd)


def must_not_overlap(sources: Sequence[Network], port: int | None, there: Iterable[BlockedSource]) -> None:
    """Check that nf_tables accepts these blocks beside the existing ones. Raises: MustNotBlock."""
    for i, source in enumerate(sources):
        for other in sources[:i]:
            if _overlap(source, other):
                raise MustNotBlock(f"{source} and {other} overlap", hint="name the wider one alone")
        for one in there:
            if (one.source, one.port) == (source, port) or not _overlap(source, one.source):
                continue
            if port is None or one.port is None or port == one.port:
                raise MustNotBlock(
                    f"{source} overlaps {one.source}{_to(one.port)}, which is blocked for another "
                    f"{show_duration(round(one.left_s))}",
                    hint=f"to change that block, first run halfopen unblock {one.source}",
                )


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _to(port: int | None) -> str:
    return "" if port is None else f" to :{port}"


def _change(word: str, source: Network, port: int | None, timeout: str = "") -> str:
    return f"{word} element inet {TABLE} {_SETS[source.version]} {{ {_element(source, port)}{timeout} }}"


def _element(source: Network, port: int | None) -> str:
    return f"{source} . {_ALL_PORTS if port is None else port}"


def _document() -> list[dict[str, Any]]:
    """Our table as nft lists it in JSON; empty if there is none."""
    try:
        text = _nft("", "-j", "list", "table", "inet", TABLE)
    except _Missing:
        return []
    found: list[dict[str, Any]] = json.loads(text)["nftables"]
    return found


def _parsed(element: Any) -> BlockedSource:
    inner = element["elem"]
    address, service = inner["val"]["concat"]
    if isinstance(address, dict):
        address = f"{address['prefix']['addr']}/{address['prefix']['len']}"
    port = service if isinstance(service, int) else None
    return BlockedSource(ipaddress.ip_network(address), port, float(inner.get("expires", 0)))


class _Missing(Exception):
    """There is no such table."""


def _nft(script: str, *words: str) -> str:
    try:
        done = subprocess.run(
            ["nft", *(words or ("-f", "-"))],
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_WITHIN_S,
            check=False,
        )
    except FileNotFoundError:
        raise Unsupported("nft", "blocks need the nft command", hint="apt-get install nftables") from None
    except subprocess.TimeoutExpired:
        raise HalfopenError("nft", f"nft did not answer within {_WITHIN_S:g} s") from None
    if done.returncode == 0:
        return done.stdout
    said = next((line for line in done.stderr.splitlines() if line.strip()), "it did not say why")
    if "No such file or directory" in done.stderr:
        raise _Missing
    if "Operation not permitted" in done.stderr or "must be root" in done.stderr:
        raise NotPermitted("changing nf_tables is refused", hint="run as root (it needs CAP_NET_ADMIN)")
    raise HalfopenError("nft", f"nft refused it: {said}")
