"""Where half-open connections come from: sources counted by prefix, IPv4 by /24 and IPv6 by /64."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.units import V4_MAPPED

V4_PREFIX: Final = 24
V6_PREFIX: Final = 64
_MAPPED_LOW: Final = int.from_bytes(V4_MAPPED[8:], "big")


@dataclass(frozen=True, slots=True)
class SourceView:
    """One prefix: how many half-open connections come from it, their share of all, and the age of the oldest in s."""

    prefix: str
    half_open: int
    share: float
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Sources:
    """The top prefixes, and how many distinct addresses (IPv4) and /64 networks (IPv6) there are in all."""

    top: tuple[SourceView, ...] = ()
    distinct: int = 0
    prefixes: int = 0


def _runs(ordered: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Distinct values of a sorted array and how often each stands there."""
    edges = np.concatenate(([0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1))
    return ordered[edges], np.diff(np.append(edges, len(ordered)))


def _v4_values(requests: NDArray[Any]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """IPv4 source as a number for each request (v4-mapped ones too), and which requests have one."""
    v4 = requests["remote_v4"].astype(np.uint32)
    is_v4 = requests["family"] != 10
    if not is_v4.all():
        low = requests["remote_low"].astype(np.uint64)
        mapped = ~is_v4 & (requests["remote_high"] == 0) & (low >> np.uint64(32) == _MAPPED_LOW)
        v4 = np.where(mapped, low.astype(np.uint32), v4)
        is_v4 = is_v4 | mapped
    return v4, is_v4


def top_sources(requests: NDArray[Any], ages_s: NDArray[np.float32], top: int) -> Sources:
    """Count N half-open requests (dtype REQUEST) by source prefix and describe the `top` ones."""
    v4, is_v4 = _v4_values(requests)
    counted: list[tuple[int, int, int]] = []  # half-open, IP version, prefix as a number
    distinct = prefixes = 0
    every_v4 = bool(is_v4.all())
    v4_only = v4 if every_v4 else v4[is_v4]
    if len(v4_only):
        ordered = np.sort(v4_only)
        distinct += 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
        found = _runs(ordered >> (32 - V4_PREFIX))
        prefixes += len(found[0])
        counted += _largest(*found, top, 4)
    high = None
    if not every_v4:
        high = requests["remote_high"].astype(np.uint64)
        found = _runs(np.sort(high[~is_v4]))
        distinct += len(found[0])
        prefixes += len(found[0])
        counted += _largest(*found, top, 6)
    counted.sort(key=lambda c: -c[0])
    views = []
    for count, version, value in counted[:top]:
        if version == 4:
            members = (v4 >> (32 - V4_PREFIX) == value) & is_v4
            text = str(ipaddress.IPv4Network((value << (32 - V4_PREFIX), V4_PREFIX)))
        else:
            members = (high == value) & ~is_v4 if high is not None else ~is_v4
            text = str(ipaddress.IPv6Network((value << (128 - V6_PREFIX), V6_PREFIX)))
        views.append(SourceView(text, count, count / len(requests), float(ages_s[members].max())))
    return Sources(tuple(views), distinct, prefixes)


def _largest(values: NDArray[Any], counts: NDArray[np.intp], top: int, version: int) -> list[tuple[int, int, int]]:
    at = np.argsort(-counts, kind="stable")[:top]
    return [(int(counts[i]), version, int(values[i])) for i in at]
