"""The counters of a guard, this process's own or another's, from the map that holds them."""

from __future__ import annotations

from typing import Final

from halfopen.core.sample.guard import COUNTED, COUNTS, GuardCounts
from halfopen.linux.bpf import maps

_ZERO: Final = bytes(4)


def counts_of(fd: int, cpus: int) -> GuardCounts:
    """The counters in the map behind a descriptor, summed over all CPUs. Raises: KernelError."""
    each = maps.get(fd, _ZERO, COUNTS, what="the guard's counters", cpus=cpus)
    return GuardCounts(
        **{name: int(each[name].sum()) for name in (*COUNTED, "timed", "timed_ns")},
        passed=tuple(int(n) for n in each["passed"].sum(axis=0)),
    )
