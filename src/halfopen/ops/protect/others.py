"""Ending the guards of other processes in order.

No file records who holds a guard: a link belongs to the process that holds its descriptor, and root can signal that
process to end, as Ctrl-C does.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Final

from halfopen.core.errors import CannotGuard, HalfopenError, NotPermitted
from halfopen.core.policy.actions import Unprotect, Unprotected
from halfopen.core.sample.guard import PROGRAM, FoundGuard
from halfopen.linux.bpf import tcx
from halfopen.read.guards import guards, links_of

_ENDS_WITHIN_S: Final = 15.0


def end(guard: FoundGuard) -> None:
    """Ask the process that holds a guard to end it in order, and wait until it is off.

    Raises: CannotGuard if the process is not found or does not end the guard, NotPermitted.
    """
    if guard.by_policy:
        raise CannotGuard(
            f"the policy [protect] of process {guard.pid or 'unknown'} armed this guard, and would arm it again",
            hint="halfopen service mode observe ends it; or change [protect] in the configuration and reload",
        )
    if guard.pid is None:
        raise CannotGuard("the process that holds this guard was not found", hint="run as root, on the host itself")
    try:
        process = os.pidfd_open(guard.pid)
    except OSError:
        return  # it has already ended
    try:
        # The PID may have been reused before; the pidfd always refers to the same process, so check that one.
        if not set(links_of(guard.pid)) & set(guard.links):
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        deadline = time.monotonic() + _ENDS_WITHIN_S
        while time.monotonic() < deadline:
            if not {link.id for link in tcx.links(PROGRAM)} & set(guard.links):
                return
            select.select([process], [], [], 0.1)
    except PermissionError:
        raise NotPermitted("ending the process that holds this guard is refused", hint="run as root (sudo)") from None
    finally:
        os.close(process)
    raise CannotGuard(
        f"process {guard.pid} still holds its guard after {_ENDS_WITHIN_S:g} s",
        hint=f"kill -9 {guard.pid} takes it off at once, and resets clients that are just connecting",
    )


def off(action: Unprotect) -> Unprotected:
    """End the guards that an Unprotect selects. Raises: CannotGuard if there is none or one does not end, NotPermitted,
    Unsupported, KernelError.
    """
    meant = [one for one in guards() if action.inode in (None, one.netns_inode)]
    if not meant:
        raise CannotGuard("no guard is armed here", hint="halfopen protect status shows those of this machine")
    pids, problems = [], []
    for one in meant:
        try:
            end(one)
        except HalfopenError as e:
            if len(meant) == 1:
                raise
            problems.append(e.line())
        else:
            pids += [] if one.pid is None else [one.pid]
    return Unprotected(action, tuple(pids), tuple(problems))
