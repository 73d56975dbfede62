"""The head of a Sample: listeners by sock_diag and their queues by eBPF, or listeners from /proc/net/tcp alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.sample import PULSE, QUEUES
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import procfs, sockdiag
from halfopen.read.bpf import programs
from halfopen.read.probe import Draft


def begin(way: str) -> Draft:
    """The draft of the calling thread's namespace: who listens, and how full the SYN queues are.

    Raises: Unsupported, NotPermitted, KernelError, WireError.
    """
    if way == "proc":
        return from_proc(way, "asked to")
    looked_at = time.monotonic(), time.time()
    try:
        with open_sock_diag() as s:
            listeners, shaken = sockdiag.listeners(s)
    except (Unsupported, NotPermitted) as e:
        if way != "auto":
            raise
        return from_proc(way, e.message)
    queues, notes = _queues(listeners)
    return Draft(way, "diag" if queues is None else "bpf", listeners, queues, looked_at, shaken, notes=notes)


def from_proc(way: str, why: str) -> Draft:
    """The draft from /proc/net/tcp, marked as degraded. Raises: Unsupported, NotPermitted, WireError."""
    looked_at = time.monotonic(), time.time()
    requests, listeners, full = procfs.sockets()
    problem = (
        f"{why}: read from /proc/net/tcp instead, where deferred-accept requests look half-open and queue limits, "
        "drops and bound devices are not shown"
    )
    return Draft(way, "proc", listeners, None, looked_at, problems=[problem], table=(requests, full))


def _queues(listeners: NDArray[Any]) -> tuple[NDArray[Any] | None, list[str]]:
    """The queues of L listeners as eBPF reads them, (L,) QUEUES; None, and why, where it cannot."""
    if not len(listeners):
        return np.empty(0, dtype=QUEUES), []
    try:
        pulse = programs.pulse().read(len(listeners))
    except HalfopenError as e:
        return None, [f"SYN queues are counted, not read: {e.message}"]
    queues = np.zeros(len(listeners), dtype=QUEUES)
    order = np.argsort(pulse["cookie"], kind="stable")
    at = np.searchsorted(pulse["cookie"][order], listeners["cookie"])
    at = order[np.minimum(at, len(pulse) - 1)] if len(pulse) else np.zeros(len(listeners), dtype=np.intp)
    if len(pulse):
        met = pulse[at]
        queues["known"] = (met["cookie"] == listeners["cookie"]) & (listeners["cookie"] != 0)
        for name in PULSE.names or ():
            queues[name] = met[name]
    return queues, []
