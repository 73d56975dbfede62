"""Ends connections with SOCK_DESTROY where eBPF may not be used: by cookie, in batches, right after a second look."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.change import destroy
from halfopen.core.addresses import AF_INET, AF_INET6, V4_MAPPED
from halfopen.core.policy.connection_actions import ChangeConnections, ChangedConnections
from halfopen.core.sample import REQUEST
from halfopen.core.sample.closing import BOUND, V6, WIDE, OpenSockets
from halfopen.read import closing

_MAPPED: Final = np.frombuffer(V4_MAPPED, dtype=np.uint8)


def exact(sockets: OpenSockets) -> NDArray[Any]:
    """N connections in the form that SOCK_DESTROY takes, (N,) REQUEST."""
    rows = sockets.rows
    found = np.zeros(len(rows), dtype=REQUEST)
    is_v6, is_wide = rows["flags"] & V6 != 0, rows["flags"] & WIDE != 0
    found["family"] = np.where(is_v6, AF_INET6, AF_INET)
    for name in ("state", "local_port", "remote_port", "cookie"):
        found[name] = rows[name]
    for side in ("local", "remote"):
        address = np.zeros((len(rows), 16), dtype=np.uint8)
        four = rows[side].astype(">u4").view(np.uint8).reshape(-1, 4)
        plain, mapped = ~is_v6, is_v6 & ~is_wide
        address[plain, :4] = four[plain]
        address[mapped, :12], address[mapped, 12:] = _MAPPED, four[mapped]
        if is_wide.any():
            wide = np.ascontiguousarray(sockets.wide[side]).view(np.uint8).reshape(-1, 16)
            address[is_wide] = wide[rows["remote"][is_wide]]
        found[f"{side}_address"] = address.view("V16")[:, 0]
    return found


def end(
    action: ChangeConnections, sockets: OpenSockets, states: int, outcome: ChangedConnections
) -> ChangedConnections:
    """End the connections that a second look finds unchanged. Raises: NotPermitted, Unsupported, KernelError."""
    with destroy.open_socket() as kill:
        destroy.probe(kill)
        looked_at = time.monotonic()
        again = closing.read("auto", states, with_owners=False, notes=[])
        same = _unchanged(again, sockets)
        quiet_s = np.minimum(again.rows["received_ms"], again.rows["sent_ms"]) / 1000
        if action.filter.idle_s is not None:
            same &= quiet_s >= action.filter.idle_s
        # SOCK_DESTROY finds a connection that is bound to a device only by the device's index, which is not read.
        same &= again.rows["flags"] & BOUND == 0
        counts = destroy.destroy(kill, exact(again.chosen(same)))
        window_s = time.monotonic() - looked_at
    return replace(outcome, done=counts.released, failed=counts.failed, way="netlink", window_ms=window_s * 1000)


def _unchanged(again: OpenSockets, before: OpenSockets) -> NDArray[np.bool_]:
    """Which connections of the second look were in the first, in the same state and with as many bytes unread."""
    order = np.argsort(before.rows["cookie"], kind="stable")
    cookies = before.rows["cookie"][order]
    at = order[np.minimum(np.searchsorted(cookies, again.rows["cookie"]), len(cookies) - 1)]
    same: NDArray[np.bool_] = (before.rows["cookie"][at] == again.rows["cookie"]) & (again.rows["cookie"] != 0)
    for name in ("state", "unread"):
        same &= before.rows[name][at] == again.rows[name]
    return same
