"""The rung of a guard on this host: the requested one, or the best one that works in a trial."""

from __future__ import annotations

from halfopen.core.errors import CannotGuard, HalfopenError, NotPermitted, Unsupported
from halfopen.core.policy.actions import AUTO
from halfopen.core.sample.guard import FIRST_SYN, GEN_COOKIE, TC
from halfopen.ops.protect import trial

_LAST_RESORT = "--rung first-syn lets clients in at the price of 1 s each; else leave it to the kernel's SYN cookies"


def choose(wanted: str) -> tuple[str, tuple[str, ...]]:
    """The rung, tried on a private host, and notes on it. wanted: a rung, or AUTO, which never chooses first-syn, as
    that delays clients.

    Raises: CannotGuard or Unsupported if none works, KernelError.
    """
    if wanted != AUTO:
        return wanted, (*_tried(wanted), *prices(wanted))
    try:
        return TC, _tried(TC)
    except (CannotGuard, Unsupported) as e:
        best = e
    try:
        notes = _tried(GEN_COOKIE)
    except HalfopenError:
        best.hint = f"{best.hint}; {_LAST_RESORT}" if best.hint else _LAST_RESORT
        raise best from None
    return GEN_COOKIE, (f"this host has no guard of its own cookies ({best.message})", *notes, *prices(GEN_COOKIE))


def _tried(rung: str) -> tuple[str, ...]:
    """Try a rung on a private host. Returns a note if this process may not create one. Raises: as `trial.trial`."""
    try:
        trial.trial(rung)
    except NotPermitted as e:
        return (f"the guard was not tried on a private host first: {e.message}",)
    return ()


def prices(rung: str) -> tuple[str, ...]:
    """The disadvantages of a rung for clients, as notes; () for the guard at tc."""
    if rung == GEN_COOKIE:
        return (
            "rung gen-cookie: clients that are answered get no window scaling, no SACK and no timestamps, unless "
            "tcp_timestamps is 2; they are answered once a SYN queue is full, whatever --at says",
        )
    if rung == FIRST_SYN:
        return ("rung first-syn: each client waits 1 s while a SYN queue is as full as --at says",)
    return ()
