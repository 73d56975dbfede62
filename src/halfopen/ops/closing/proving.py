"""Asks the peers of connections for a sign of life with keepalive probes, and counts who answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.change import options_record
from halfopen.change.closers import Closers, meant
from halfopen.core.policy.connection_actions import ChangedConnections, KeepaliveOptions
from halfopen.core.sample.closing import OpenSockets
from halfopen.core.where import Namespace
from halfopen.linux import small_files
from halfopen.ops.closing.by_descriptor import Duplicates
from halfopen.read import closing

# TCP_KEEPIDLE for the probe, the least that the kernel accepts. Where a connection was idle for longer already, the
# probe leaves as soon as the option is set.
_IDLE_S: Final = 1
# Longer than a round trip anywhere.
_WAIT_S: Final = 2.0
# The kernel tells how long ago the last ACK came; the longer a reading takes, the less exact the moment computed from
# that. The answer to a probe comes at least _IDLE_S after the ACK before it, so moments that differ by less than half
# of that are of the same ACK.
_BLUR_S: Final = _IDLE_S / 2
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
    programs: Closers | Duplicates,
    where: Namespace,
    sockets: OpenSockets,
    states: int,
    outcome: ChangedConnections,
    as_they_were: Callable[[NDArray[Any]], NDArray[Any]],
    stop: threading.Event,
) -> ChangedConnections:
    """Send a probe on each connection, wait for two seconds at most, and count which peers answered. The options are
    then set back, even if the wait ends in an error. A peer that has forgotten the connection answers with an RST,
    which ends it.

    as_they_were: turns records (K,) ACTED of what options were into rows (K,) MEANT that set them back. where: the
    namespace of the connections, for the record of their options, which remains if halfopen is killed meanwhile.
    Raises: JournalError before anything is changed; KernelError.
    """
    cookies = sockets.rows["cookie"]
    before = _heard_at(sockets)
    with options_record.OpenRecord(where) as record:
        known = programs.retrofit(cookies, meant(len(cookies)), states)
        record.begin(known)
        try:
            records = programs.retrofit(
                known["cookie"], meant(len(known), KeepaliveOptions(True, _IDLE_S)), states, slowly=True
            )
            failed = programs.failures
            answered, gone = _awaited(records["cookie"], states, sockets, before, stop)
        finally:
            programs.retrofit(known["cookie"], as_they_were(known), states)
            record.drop()
    return replace(
        outcome,
        done=len(records),
        # By descriptor, a connection that was refused has no record, so it is not spared as well.
        spared=len(cookies) - len(records) - (failed if programs.way == Duplicates.way else 0),
        failed=failed,
        way=programs.way,
        answered=int(np.count_nonzero(answered)),
        forgotten=int(np.count_nonzero(gone)),
        silent=int(np.count_nonzero(~(answered | gone))),
    )


def _awaited(
    cookies: NDArray[Any], states: int, sockets: OpenSockets, before: NDArray[Any], stop: threading.Event
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """As `_look`, once every peer was heard or its connection is gone, or the time is up."""
    began = time.monotonic()
    answered: NDArray[np.bool_] = np.zeros(len(cookies), dtype=bool)
    gone = answered.copy()
    while time.monotonic() - began < _WAIT_S and not stop.is_set():
        stop.wait(_STEP_S)
        answered, gone = _look(cookies, states, sockets, before)
        if (answered | gone).all():
            break
    return answered, gone


def _look(
    cookies: NDArray[Any], states: int, sockets: OpenSockets, before: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of K connections had an ACK since `sockets` were read, (K,), and which no longer exist, (K,). before (N,):
    when the last ACK had come on each of `sockets`.
    """
    now = closing.read("auto", states, with_owners=False, notes=[])
    at, there = _places(cookies, now.rows["cookie"])
    if not there.any():
        return there, ~there
    then, _ = _places(cookies, sockets.rows["cookie"])
    blur_s = max(_BLUR_S, now.took_s, sockets.took_s)
    return there & (_heard_at(now)[at] - before[then] > blur_s), ~there


def _heard_at(sockets: OpenSockets) -> NDArray[Any]:
    """When the last ACK came on each of N sockets, in monotonic seconds; too late by `took_s` at most."""
    heard: NDArray[Any] = sockets.looked_at_s + sockets.took_s - sockets.rows["heard_ms"] / 1000
    return heard


def _places(wanted: NDArray[Any], cookies: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Where each of K cookies is among N, and whether it is there at all."""
    if not len(cookies):
        return np.zeros(len(wanted), dtype=np.intp), np.zeros(len(wanted), dtype=bool)
    order = np.argsort(cookies, kind="stable")
    at = order[np.minimum(np.searchsorted(cookies[order], wanted), len(cookies) - 1)]
    return at, cookies[at] == wanted
