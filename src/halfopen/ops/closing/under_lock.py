"""The eBPF programs that change connections under their own lock, where they may be used."""

from __future__ import annotations

from halfopen.change.closers import Closers
from halfopen.core.errors import HalfopenError, KernelError
from halfopen.core.policy.connection_notes import NOT_LOCKED


def closers(n: int, notes: list[str]) -> Closers | None:
    """The eBPF programs with room for that many; None, and why, where they may not be used."""
    try:
        return Closers(n)
    except HalfopenError as e:
        notes.append(NOT_LOCKED.format(why=e.message))
        return None


def refused(programs: Closers) -> tuple[str, ...]:
    """What the kernel said of the connections that it did not let be changed; empty where there are none."""
    if not programs.failures:
        return ()
    return (KernelError("changing connections", programs.errno).message,)
