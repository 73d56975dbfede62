"""Request sockets and listeners made up for tests."""

from __future__ import annotations

import functools
import ipaddress
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.model.closing_glance import ClosingGlance
from halfopen.core.model.listing import Collected, Listing
from halfopen.core.model.model import Model
from halfopen.core.sample import LISTENER, REQUEST, Requests, Sample
from halfopen.core.where import Host, Namespace
from halfopen.present.rows import Part


@functools.cache
def raw(address: str, family: int) -> bytes:
    """The 16 bytes in which a socket of that family (2 or 10) holds an address; IPv4 in an IPv6 one is mapped."""
    parsed = ipaddress.ip_address(address)
    if parsed.version == 6:
        return parsed.packed
    return parsed.packed.ljust(16, b"\0") if family == 2 else bytes(10) + b"\xff\xff" + parsed.packed


@functools.cache
def _request(
    source: str,
    local: str,
    port: int,
    family: int,
    source_port: int,
    retransmits: int,
    expires_ms: int,
    ifindex: int,
    cookie: int,
) -> NDArray[Any]:
    row = np.zeros(1, dtype=REQUEST)
    row["family"], row["state"], row["timer"] = family, 3, 1
    row["local_port"], row["remote_port"] = port, source_port
    row["local_address"], row["remote_address"] = np.void(raw(local, family)), np.void(raw(source, family))
    row["retransmits"], row["expires_ms"], row["ifindex"], row["cookie"] = retransmits, expires_ms, ifindex, cookie
    return row


def request(
    source: str = "198.18.0.1",
    local: str = "192.0.2.1",
    port: int = 8080,
    *,
    family: int = 2,
    source_port: int = 1024,
    retransmits: int = 0,
    expires_ms: int = 500,
    ifindex: int = 0,
    cookie: int = 1,
) -> NDArray[Any]:
    """One row of dtype REQUEST."""
    # Made once for all tests that want one like it: many make thousands.
    return _request(source, local, port, family, source_port, retransmits, expires_ms, ifindex, cookie).copy()


def listener(address: str = "0.0.0.0", port: int = 8080, *, ifindex: int = 0, inode: int = 1, **values: int) -> Any:
    """One row of dtype LISTENER; `values` sets further fields."""
    family = 10 if ":" in address else 2
    row = np.zeros(1, dtype=LISTENER)
    row["family"], row["port"], row["ifindex"], row["inode"] = family, port, ifindex, inode
    row["address"] = np.void(raw(address, family))
    row["accept_queue_limit"] = values.pop("limit", 128)
    row["drops_known"] = True
    for name, value in values.items():
        row[name] = value
    return row


def part(model: Model, count: int | None = None) -> Part:
    """A Model's requests as `list` shows them, the oldest first: `count` of them, or all."""
    collected = Collected(Listing())
    collected.add(model.sample.requests, model.ages_s, model.is_deferred, model.doubtful(slice(None)))
    return Part(model.sample.where.name, collected, len(collected) if count is None else count)


SELF = Namespace("boot", 1)
# No open or closing connections were looked at.
UNSEEN = ClosingSeen(ClosingGlance())


def named(name: str) -> Namespace:
    """A namespace of that name, another one for each name; "self" is that of `sample`."""
    return SELF if name == "self" else Namespace("boot", zlib.crc32(name.encode("utf-8", "surrogateescape")), name=name)


def joined(tables: Sequence[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """These tables of one dtype, one after another. np.concatenate compares all their fields, which takes long."""
    assert all(table.dtype == dtype for table in tables)
    return np.frombuffer(bytearray().join(table.tobytes() for table in tables), dtype=dtype)


def sample(
    requests: list[Any], listeners: list[Any], *, depths: bool = False, timeouts: Any = None, **values: Any
) -> Sample:
    """A Sample of these rows, with a kernel's default settings; depths: without the part about requests."""
    rows = joined(requests, REQUEST)
    settings = {"tcp_synack_retries": 5, "tcp_syncookies": 1, "tcp_max_syn_backlog": 2048, "somaxconn": 4096}
    return Sample(
        where=values.pop("where", SELF),
        host=Host("host", "6.1"),
        parts=() if depths else (Requests(rows, len(rows), values.pop("full", 0), timeouts),),
        listeners=joined(listeners, LISTENER),
        monotonic_s=values.pop("monotonic_s", 100.0),
        wall_s=values.pop("wall_s", 1e9),
        settings={**settings, **values.pop("settings", {})},
        **values,
    )
