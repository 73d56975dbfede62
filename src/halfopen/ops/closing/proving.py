"""Proof of life: a keepalive probe to the peer of each connection, and what came back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.change.closers import Closers, meant
from halfopen.core.policy.actions import ChangedConnections, KeepaliveOptions
from halfopen.core.sample.closing import OpenSockets
from halfopen.linux import small_files
from halfopen.read import closing

# A probe leaves at once where a connection was idle for as long, the least idle time that the kernel takes.
_IDLE_S: Final = 1
# Longer than a round trip anywhere.
_WAIT_S: Final = 2.0
_STEP_S: Final = 0.1
_SETTINGS: Final = (("tcp_keepalive_time", 7200), ("tcp_keepalive_intvl", 75), ("tcp_keepalive_probes", 9))


def keepalive_settings() -> tuple[int, int, int]:
    """tcp_keepalive_time, _intvl and _probes of the calling thread's namespace."""
    found = []
    for name, usual in _SETTINGS:
        text = small_files.text(f"/proc/sys/net/ipv4/{name}")
        found.append(int(text) if text.isdigit() else usual)
    return found[0], found[1], found[2]


def probe(
    programs: Closers,
    sockets: OpenSockets,
    states: int,
    outcome: ChangedConnections,
    as_they_were: Callable[[NDArray[Any]], NDArray[Any]],
    stop: threading.Event,
) -> ChangedConnections:
    """Send a probe on each connection, wait for two seconds, and tell which peers answered; then the options are set
    as they were. A peer that has forgotten the connection answers with an RST, which ends it. Raises: KernelError.
    """
    cookies = sockets.rows["cookie"]
    began = time.monotonic()
    records = programs.retrofit(cookies, meant(len(cookies), KeepaliveOptions(True, _IDLE_S)), states)
    failed = programs.failures
    answered: NDArray[np.bool_] = np.zeros(len(records), dtype=bool)
    gone = answered.copy()
    while time.monotonic() - began < _WAIT_S and not stop.is_set():
        stop.wait(_STEP_S)
        answered, gone = _look(records["cookie"], states, began)
        if (answered | gone).all():
            break
    programs.retrofit(records["cookie"], as_they_were(records), states)
    return replace(
        outcome,
        done=len(records),
        spared=len(cookies) - len(records),
        failed=failed,
        way="bpf",
        answered=int(np.count_nonzero(answered)),
        forgotten=int(np.count_nonzero(gone)),
        silent=int(np.count_nonzero(~(answered | gone))),
    )


def _look(cookies: NDArray[Any], states: int, since_s: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of K connections: whose peer was heard since then, and which do not exist any more."""
    now = closing.read("auto", states, with_owners=False, notes=[])
    order = np.argsort(now.rows["cookie"], kind="stable")
    sorted_ = now.rows["cookie"][order]
    if not len(sorted_):
        return np.zeros(len(cookies), dtype=bool), np.ones(len(cookies), dtype=bool)
    at = np.minimum(np.searchsorted(sorted_, cookies), len(sorted_) - 1)
    there = sorted_[at] == cookies
    heard_s = now.rows["heard_ms"][order][at] / 1000
    return there & (heard_s <= now.looked_at_s - since_s), ~there
