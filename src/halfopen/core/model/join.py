"""The listener that each request socket belongs to, by the rules of the kernel's own lookup (`inet_lookup_listener()`).

A request keeps its listener's family, so an IPv4 client of a dual-stack listener has an IPv6 (v4-mapped) request.
SO_REUSEPORT members share address, port and device and cannot be distinguished from outside: they are one group.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6, MAPPED_LOW, V4_MAPPED
from halfopen.core.sample import LISTENER

_PORTS = 65536
NONE = -1


class Group(Struct, frozen=True):
    """Listeners that share family, address, port and bound device: `rows` are their places in the Sample's
    listeners.
    """

    family: int
    address: bytes
    port: int
    ifindex: int
    rows: tuple[int, ...]

    @property
    def wildcard(self) -> bool:
        """True for 0.0.0.0, :: and ::ffff:0.0.0.0."""
        return not any(self.address) or self.mapped_wildcard

    @property
    def mapped_wildcard(self) -> bool:
        """True for ::ffff:0.0.0.0, an IPv6 socket for every IPv4 address and no other."""
        return self.family == AF_INET6 and self.address == V4_MAPPED + bytes(4)


# The fields that distinguish groups.
IDENTITY: Final = ("port", "family", "address", "ifindex")


def groups(listeners: NDArray[Any]) -> list[Group]:
    """The groups of listeners (L,) LISTENER, in order of port, then address. The list must not be changed."""
    made = _of_few if len(listeners) <= _FEW else _of_many
    return made(len(listeners), *(listeners[name].tobytes() for name in IDENTITY))


def _made(n: int, *identity: bytes) -> list[Group]:
    listeners = np.zeros(n, dtype=[(name, LISTENER[name]) for name in IDENTITY])
    for name, column in zip(IDENTITY, identity, strict=True):
        listeners[name] = np.frombuffer(column, dtype=LISTENER[name])
    keyed: dict[tuple[int, int, bytes, int], list[int]] = {}
    for i, row in enumerate(listeners):
        key = (int(row["port"]), int(row["family"]), bytes(row["address"]), int(row["ifindex"]))
        keyed.setdefault(key, []).append(i)
    return [
        Group(family, address, port, ifindex, tuple(rows))
        for (port, family, address, ifindex), rows in sorted(keyed.items())
    ]


# A watch reads the same listeners again and again. A thousand take a quarter of a megabyte: of those that come and go
# not many sets are remembered.
_FEW: Final = 100
_of_few: Final = lru_cache(maxsize=64)(_made)
_of_many: Final = lru_cache(maxsize=4)(_made)


def assign(requests: NDArray[Any], found: list[Group]) -> NDArray[np.int32]:
    """For each of requests (N,) REQUEST the place of its group in `found`, (N,); NONE where its listener is gone.

    A bound device beats none, a concrete address beats the wildcard.
    """
    ports = requests["local_port"].astype(np.uint16)
    by_port: dict[int, list[int]] = {}
    for i, group in enumerate(found):
        by_port.setdefault(group.port, []).append(i)
    # The usual case first, in a few passes over all: a port with one wildcard listener bound to no device.
    table = np.full(_PORTS, NONE, dtype=np.int32)
    families = np.zeros(_PORTS, dtype=np.uint8)
    hard = np.zeros(_PORTS, dtype=bool)
    for port, candidates in by_port.items():
        only = found[candidates[0]]
        if len(candidates) == 1 and not any(only.address) and not only.ifindex:
            table[port], families[port] = candidates[0], only.family
        else:
            hard[port] = True
    result = table[ports]
    strangers = families[ports] != requests["family"]
    if strangers.any():
        result[strangers] = NONE
    if hard.any():
        rows = np.flatnonzero(hard[ports])
        if len(rows):
            _assign_hard(requests, ports, rows, found, by_port, result)
    return result


def _assign_hard(
    requests: NDArray[Any],
    ports: NDArray[np.uint16],
    rows: NDArray[np.intp],
    found: list[Group],
    by_port: dict[int, list[int]],
    result: NDArray[np.int32],
) -> None:
    """Ports with several candidates: sort the rows by port once, then try candidates from the least to the most
    specific.

    ports (N,): of requests (N,) REQUEST. rows (K,): the places of those with such a port, for which the place of the
    group is written to result (N,).
    """
    rows = rows[np.argsort(ports[rows], kind="stable")]
    edges = np.flatnonzero(np.diff(ports[rows])) + 1
    for part in np.split(rows, edges):
        subset = requests[part]
        candidates = by_port[int(ports[part[0]])]
        for i in sorted(candidates, key=lambda i: (not found[i].wildcard, bool(found[i].ifindex))):
            group = found[i]
            result[part[fits(subset, group)]] = i


def fits(requests: NDArray[Any], group: Group) -> NDArray[np.bool_]:
    """Which of N requests (dtype REQUEST) can have come to a group's listeners; shape (N,)."""
    fitting: NDArray[np.bool_] = (requests["local_port"] == group.port) & (requests["family"] == group.family)
    if group.mapped_wildcard:
        fitting &= (requests["local_high"] == 0) & (requests["local_low"] >> 32 == MAPPED_LOW)
    elif not group.wildcard:
        fitting &= requests["local_address"] == np.void(group.address)
    if group.ifindex:
        fitting &= requests["ifindex"] == group.ifindex
    return fitting
