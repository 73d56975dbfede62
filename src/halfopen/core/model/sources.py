"""Where half-open connections come from: sources counted by prefix, IPv4 by /24 and IPv6 by /64."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET6, MAPPED_LOW

V4_PREFIX: Final = 24
V6_PREFIX: Final = 64
# A prefix of a smaller share is one of many, and so is one beside others of about the same share.
_STANDS_OUT: Final = 0.02
_ALONE: Final = 0.05
# Two or three of one prefix are chance, among many others.
_CHANCE: Final = 3
_PLAIN: Final = 0.1
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)


class SourceView(Struct, frozen=True):
    """One prefix: how many half-open connections come from it, their share of all, and the age of the oldest in s."""

    prefix: str
    half_open: int
    share: float
    oldest_s: float


class Sources(Struct, frozen=True):
    """The top prefixes, and how many distinct addresses (IPv4) and /64 networks (IPv6) there are in all."""

    top: tuple[SourceView, ...] = ()
    distinct: int = 0
    prefixes: int = 0


def standing_out(sources: Sequence[SourceView]) -> list[SourceView]:
    """The prefixes worth a line: those with a large share, or a share that is twice that of the last of the ten."""
    large = [one for one in sources if one.share >= _STANDS_OUT and one.half_open > 1]
    if len(sources) < 10:
        return large
    usual = sources[-1].share
    large = [one for one in large if one.half_open > _CHANCE or one.share >= _PLAIN]
    return [one for one in large if one.share >= _ALONE or one.share >= 2 * usual]


def _runs(ordered: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Distinct values of a sorted array and how often each stands there."""
    edges = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    return ordered[edges], np.diff(np.append(edges, len(ordered)))


def addresses(requests: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.bool_], NDArray[np.uint64]]:
    """Of N requests (dtype REQUEST): the IPv4 source as a number (v4-mapped ones too), which have one, both (N,), and
    the first 64 bits of the M others (M,). In place of an IPv4 source the others have a number that stands for their
    last 64 bits.
    """
    v4 = requests["remote_v4"].astype(np.uint32)
    is_v4 = requests["family"] != AF_INET6
    if is_v4.all():
        return v4, is_v4, np.empty(0, dtype=np.uint64)
    low = requests["remote_low"].astype(np.uint64)
    high = requests["remote_high"].astype(np.uint64)
    mapped = ~is_v4 & (high == 0) & (low >> np.uint64(32) == MAPPED_LOW)
    is_v4 = is_v4 | mapped
    last = ((low * _ODD) >> np.uint64(32)).astype(np.uint32)
    v4 = np.where(mapped, low.astype(np.uint32), np.where(is_v4, v4, last))
    return v4, is_v4, high[~is_v4]


def top_sources(
    v4: NDArray[np.uint32],
    is_v4: NDArray[np.bool_],
    high: NDArray[np.uint64],
    ages_s: NDArray[np.float32],
    top: int,
) -> Sources:
    """Count N half-open requests by source prefix and describe the `top` prefixes.

    v4, is_v4, high: (N,), as `addresses` gives them; ages_s: (N,), in seconds.
    """
    counted: list[tuple[int, int, int]] = []  # half-open, IP version, prefix as a number
    distinct = prefixes = 0
    v4_only = v4[is_v4] if len(high) else v4
    if len(v4_only):
        ordered = np.sort(v4_only)
        distinct += 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
        ordered >>= np.uint32(32 - V4_PREFIX)
        found = _runs(ordered)
        prefixes += len(found[0])
        counted += _largest(*found, top, 4)
    if len(high):
        found = _runs(np.sort(high))
        distinct += len(found[0])
        prefixes += len(found[0])
        counted += _largest(*found, top, 6)
    counted.sort(key=lambda c: -c[0])
    prefix_v4 = v4 >> np.uint32(32 - V4_PREFIX)
    ages_v4, ages_v6 = ages_s, ages_s[:0]
    if len(high):
        prefix_v4, ages_v4, ages_v6 = prefix_v4[is_v4], ages_s[is_v4], ages_s[~is_v4]
    views = []
    for count, version, value in counted[:top]:
        if version == 4:
            oldest = ages_v4[prefix_v4 == value].max()
            text = str(ipaddress.IPv4Network((value << (32 - V4_PREFIX), V4_PREFIX)))
        else:
            oldest = ages_v6[high == value].max()
            text = str(ipaddress.IPv6Network((value << (128 - V6_PREFIX), V6_PREFIX)))
        views.append(SourceView(text, count, count / len(v4), float(oldest)))
    return Sources(tuple(views), distinct, prefixes)


def _largest(values: NDArray[Any], counts: NDArray[np.intp], top: int, version: int) -> list[tuple[int, int, int]]:
    """The `top` values with the highest counts, as (count, version, value). values, counts: (K,)."""
    at = np.argsort(-counts, kind="stable")[:top]
    return [(int(counts[i]), version, int(values[i])) for i in at]
