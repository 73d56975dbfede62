"""Whether a few hosts hold most of a set of addresses, or stand out beside many others that hold little each."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.findings.evidence import FEW
from halfopen.core.model.distinct import distinct
from halfopen.core.model.prefixes import Numbers, Prefix, is_v4

# A few hosts, or one prefix, hold at least this share of the requests.
HELD: Final = 0.8
# More hosts than this are not a few.
FEW_HOSTS: Final = 8
# A sample of this size shows whether any host stands out.
_SAMPLED: Final = 2000
# Among many sources, no address drawn at random has this share of the requests.
_HEAVY: Final = 0.05
# A host with less than this part of what the largest one has is not one of the few.
_STANDS_BESIDE: Final = 0.1


def few_hosts(numbers: Numbers, lasts: NDArray[np.uint32]) -> list[tuple[Prefix, float]]:
    """The few hosts that together hold at least `HELD` of these requests, largest first, each with its share of all of
    them (0 to 1); empty where more than `FEW_HOSTS` are needed.

    numbers (N,) uint64: the source of each request, as in `core.model.prefixes`. lasts (N,) uint32: a hash of the last
    64 bits of IPv6 sources, which tells apart addresses that share the first 64.
    """
    # One of them has a tenth or more.
    if _nobody_has(HELD / FEW_HOSTS, numbers):
        return []
    values, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:FEW_HOSTS]
    # One of each is no host that stands out, nor is a rare one beside others.
    order = order[(counts[order] > 1) & (counts[order] >= _STANDS_BESIDE * counts[order[0]])]
    if counts[order].sum() < HELD * len(numbers) or _how_many(values[order], numbers, lasts) > FEW_HOSTS:
        return []
    return _named(values[order], counts[order] / len(numbers))


def hosts_beside(numbers: Numbers, lasts: NDArray[np.uint32]) -> list[tuple[Prefix, float]]:
    """The few hosts that each hold more of these requests than an address drawn at random could, largest first, each
    with its share of what these hosts hold together (0 to 1); empty where there are none, or more than `FEW_HOSTS`.

    numbers (N,), lasts (N,): as for `few_hosts`.
    """
    if _nobody_has(_HEAVY, numbers):
        return []
    values, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= max(FEW, _HEAVY * len(numbers))]
    if not 0 < _how_many(values[order], numbers, lasts) <= FEW_HOSTS:
        return []
    return _named(values[order], counts[order] / counts[order].sum())


def _nobody_has(share: float, numbers: Numbers) -> bool:
    """Whether certainly no host has this share of numbers (N,): a sample tells it without sorting a million."""
    if len(numbers) <= _SAMPLED:
        return not len(numbers)
    _, counts = np.unique(numbers[:: len(numbers) // _SAMPLED], return_counts=True)
    return bool(np.max(counts) < _SAMPLED * share / 3)


def _how_many(hosts: Numbers, numbers: Numbers, lasts: NDArray[np.uint32]) -> int:
    """How many addresses of hosts (K,) are among numbers (N,); of more than `FEW_HOSTS` hosts, K, without counting."""
    if len(hosts) > FEW_HOSTS:
        return len(hosts)
    v4 = is_v4(hosts)
    return sum(1 if v4[i] else len(distinct(lasts[numbers == host])) for i, host in enumerate(hosts))


def _named(hosts: Numbers, shares: NDArray[np.float64]) -> list[tuple[Prefix, float]]:
    v4 = is_v4(hosts)
    named = (Prefix(*((4, int(host), 32) if v4[i] else (6, int(host), 64))) for i, host in enumerate(hosts))
    return list(zip(named, shares.tolist(), strict=True))


def of_hosts(hosts: list[tuple[Prefix, float]], numbers: Numbers) -> NDArray[np.bool_]:
    """Which of numbers (N,) are sources on these hosts, (N,) bool."""
    mask = np.zeros(len(numbers), dtype=bool)
    for prefix, _ in hosts:
        mask |= prefix.holds(numbers)
    return mask
