"""The eBPF programs that change connections under the connections' own locks, where such programs may be used."""

from __future__ import annotations

from halfopen.change.closers import Closers
from halfopen.core.errors import HalfopenError, KernelError
from halfopen.core.policy.connection_notes import NOT_LOCKED


def closers(n: int, notes: list[str]) -> Closers | None:
    """The programs with room for `n` connections; None, with a note that says why, where they may not be used."""
    try:
        return Closers(n)
    except HalfopenError as e:
        notes.append(NOT_LOCKED.format(why=e.message))
        return None


def refused(programs: Closers) -> tuple[str, ...]:
    """The kernel's error for connections that it refused to change; empty where there are none."""
    if not programs.failures:
        return ()
    return (KernelError("changing connections", programs.errno).message,)
