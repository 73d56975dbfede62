"""Blocks and unblocks sources, and refuses to block those that must not be."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.change import blocks
from halfopen.change.blocks import BlockedSource
from halfopen.core.errors import MustNotBlock
from halfopen.core.policy.actions import Block, BlocksChanged, Unblock
from halfopen.core.units import Network
from halfopen.linux.netns import Netns
from halfopen.read import addresses, clients

# A source that finished a handshake within this time is a client.
_LATELY_S: Final = 3600.0
# The variables in which sshd names the client of this session.
_SSH: Final = ("SSH_CONNECTION", "SSH_CLIENT")
# The shortest prefix that may be blocked, by version of IP: no registry allocates shorter ones.
_WIDEST: Final = {4: 8, 6: 19}


def block(action: Block, ns: Netns, never: Sequence[Network] = (), *, dry_run: bool = False) -> BlocksChanged:
    """Block all sources of an action, or none if one of them must not be blocked. never: prefixes that must not be
    blocked.

    Raises: MustNotBlock, Unsupported, NotPermitted, UnknownTarget, HalfopenError "nft".
    """

    def work() -> None:
        for source in action.sources:
            _may_block(source, never)
        if dry_run:
            blocks.must_not_overlap(action.sources, action.port, blocks.blocked())
        else:
            blocks.block(action.sources, action.port, action.for_s)

    ns.run(work)
    return BlocksChanged(action, tuple(map(str, action.sources)), dry_run)


def unblock(action: Unblock, ns: Netns) -> BlocksChanged:
    """Remove the blocks of these sources, whatever their port; all blocks where no source is named.

    Raises: MustNotBlock where one is not blocked, Unsupported, NotPermitted, UnknownTarget, HalfopenError "nft".
    """

    def work() -> tuple[str, ...]:
        there = blocks.blocked()
        gone = [one for one in there if not action.sources or one.source in action.sources]
        missing = set(action.sources) - {one.source for one in gone}
        if missing or not gone:
            what = ", ".join(map(str, sorted(missing, key=str))) or "no source"
            raise MustNotBlock(
                f"{what} is blocked by halfopen here" if not missing else f"{what} is not blocked by halfopen here",
                hint="halfopen block list shows the blocks",
            )
        blocks.unblock(gone)
        return tuple(dict.fromkeys(str(one.source) for one in gone))

    return BlocksChanged(action, ns.run(work))


def listed(ns: Netns) -> list[BlockedSource]:
    """The blocks of a namespace. Raises: Unsupported, NotPermitted, UnknownTarget, HalfopenError "nft"."""
    return ns.run(blocks.blocked)


def _may_block(source: Network, never: Sequence[Network]) -> None:
    """Raises: MustNotBlock."""
    widest = _WIDEST[source.version]
    if source.prefixlen < widest:
        raise MustNotBlock(
            f"{source} is not blocked: a prefix shorter than /{widest} covers far more than one network",
            hint="block only the sources that halfopen diagnose names",
        )
    for one in never:
        if one.version == source.version and one.overlaps(source):
            raise MustNotBlock(f"{source} is not blocked: never.sources of the configuration holds {one}")
    for name in _SSH:
        words = os.environ.get(name, "").split()
        if words and _holds(source, words[0]):
            raise MustNotBlock(f"{source} is not blocked: you are connected from {words[0]} by SSH")
    if source.is_loopback or any(_holds(source, str(ipaddress.ip_address(one.address))) for one in _own()):
        raise MustNotBlock(f"{source} is not blocked: it holds an address of this host")
    served = _clients(source)
    if served:
        raise MustNotBlock(
            f"{source} is not blocked: {served} there finished a handshake within the last hour or is connected",
            hint="block only the sources that halfopen diagnose names",
        )


def _own() -> list[Any]:
    return [one for one in addresses.local_prefixes() if one.length == len(one.address) * 8]


def _holds(source: Network, address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return parsed.version == source.version and parsed in source


def _clients(source: Network) -> str:
    """Clients in a prefix, in words for an error; "" for none. Raises: HalfopenError where they cannot be read."""
    known = clients.read()
    rows = known.lately.rows
    lately = rows["number"][rows["age_s"] <= _LATELY_S].astype(np.uint64)
    found = _within(np.union1d(known.established, lately), source)
    return "" if not len(found) else f"{len(found):,} of the clients" if len(found) > 1 else "one of the clients"


def _within(numbers: NDArray[np.uint64], source: Network) -> NDArray[np.uint64]:
    """Which of these numbers lie in a prefix or share their bits with it. They are as in `core.model.clients`: an IPv4
    address, or the upper 64 bits of an IPv6 one.
    """
    is_v4 = numbers < 2**32
    if source.version == 4:
        first, last = int(source.network_address), int(source.broadcast_address)
        return numbers[is_v4 & (numbers >= first) & (numbers <= last)]
    first, last = int(source.network_address) >> 64, int(source.broadcast_address) >> 64
    return numbers[~is_v4 & (numbers >= first) & (numbers <= last)]
