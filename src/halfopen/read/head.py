"""The head of a Sample: listeners by sock_diag and their queues by eBPF, or listeners from /proc/net/tcp alone."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.sample import PULSE, QUEUES, Head
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import procfs, sockdiag
from halfopen.read.bpf import programs
from halfopen.read.probe import Draft


def begin(way: str, before: Head | None = None) -> Draft:
    """The draft of the calling thread's namespace: who listens, and how full the SYN queues are.

    before: an earlier reading. If its digest shows that nothing has changed, its arrays are reused (the same objects),
    and nothing else is read.

    Raises: Unsupported, NotPermitted, KernelError, WireError.
    """
    if way == "proc":
        return from_proc(way, "asked to")
    looked_at = time.monotonic(), time.time()
    digest = None if before is None else _digest(before)
    if before is not None and digest is not None and digest == before.digest:
        return Draft(way, "bpf", before.listeners, before.queues, looked_at, digest=digest)
    try:
        with open_sock_diag() as s:
            listeners, shaken = sockdiag.listeners(s)
    except (Unsupported, NotPermitted) as e:
        if way != "auto":
            raise
        return from_proc(way, e.message)
    queues, after, notes = _queues(listeners)
    draft = Draft(way, "diag" if queues is None else "bpf", listeners, queues, looked_at, shaken, notes=notes)
    if not shaken and after == digest:
        draft.digest = after  # nothing changed during the reading
    return draft


def _digest(before: Head) -> int | None:
    """The digest of the listeners now; None if eBPF cannot read their queues."""
    if before.queues is None or not len(before.queues):
        return None
    try:
        return programs.pulse().digest(len(before.queues))
    except HalfopenError:
        return None


def from_proc(way: str, why: str) -> Draft:
    """The draft from /proc/net/tcp, marked as degraded. Raises: Unsupported, NotPermitted, WireError."""
    looked_at = time.monotonic(), time.time()
    requests, listeners, full = procfs.sockets()
    problem = (
        f"{why}: read from /proc/net/tcp instead, where deferred-accept requests look half-open and queue limits, "
        "drops and bound devices are not shown"
    )
    return Draft(way, "proc", listeners, None, looked_at, problems=[problem], table=(requests, full))


def _queues(listeners: NDArray[Any]) -> tuple[NDArray[Any] | None, int | None, list[str]]:
    """The queues of L listeners, (L,) QUEUES, by eBPF, and their digest; or None, None and the reason in a note."""
    if not len(listeners):
        return np.empty(0, dtype=QUEUES), None, []
    try:
        pulse, digest = programs.pulse().read_with_digest(len(listeners))
    except HalfopenError as e:
        return None, None, [f"SYN queues are counted, not read: {e.message}"]
    queues = np.zeros(len(listeners), dtype=QUEUES)
    order = np.argsort(pulse["cookie"], kind="stable")
    at = np.searchsorted(pulse["cookie"][order], listeners["cookie"])
    at = order[np.minimum(at, len(pulse) - 1)] if len(pulse) else np.zeros(len(listeners), dtype=np.intp)
    if len(pulse):
        met = pulse[at]
        queues["known"] = (met["cookie"] == listeners["cookie"]) & (listeners["cookie"] != 0)
        for name in PULSE.names or ():
            queues[name] = met[name]
    return queues, digest, []
