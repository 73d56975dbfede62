"""Changes connections one at a time, through duplicates of their programs' descriptors (pidfd_getfd, Linux 5.6)."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.change import connection_option
from halfopen.change.closers import LEAVE
from halfopen.core.policy.connection_actions import KeepaliveOptions
from halfopen.core.sample.closing import CLOSE_WAIT, OpenSockets
from halfopen.ops.closing.jiffies import in_jiffies
from halfopen.read.listener_options import duplicate
from halfopen.read.ptrace_refusal import refusal
from halfopen.wire.bpf_records import ACTED

# Since Linux 4.12 (`sk_getsockopt()`).
_SO_COOKIE: Final = 57
_GONE: Final = (errno.ESRCH, errno.EBADF, errno.ENOTSOCK)


def _each(sockets: OpenSockets, stop: threading.Event) -> Iterator[tuple[int, socket.socket | OSError]]:
    """The place of each connection with a duplicate of its descriptor, or the error; connections that are gone are left
    out.
    """
    if sockets.pids is None or sockets.descriptors is None:
        return
    holders = zip(sockets.pids.tolist(), sockets.descriptors.tolist(), sockets.rows["cookie"].tolist(), strict=True)
    for place, (pid, descriptor, cookie) in enumerate(holders):
        if stop.is_set():
            return
        if not pid:
            continue
        try:
            s = duplicate(pid, descriptor)
        except OSError as e:
            if e.errno not in _GONE:
                yield place, e
            continue
        with s:
            # The program may have reused the descriptor's number for another socket.
            if int.from_bytes(s.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little") == cookie:
                yield place, s


class Duplicates:
    """Sets options on N connections as `Closers.retrofit` does, but not under their lock. failures: the refused."""

    way: Final = "descriptor"

    def __init__(self, sockets: OpenSockets) -> None:
        self._sockets = sockets
        self.failures = 0

    def retrofit(
        self, cookies: NDArray[np.uint64], rows: NDArray[Any], states: int, *, slowly: bool = False
    ) -> NDArray[Any]:
        """Set the options of rows (K,) MEANT on the connections with these cookies (K,) in these states, a bit each.
        Returns records (n,) ACTED of what the options were. slowly: ignored, each takes some 30 us anyway.
        """
        wanted = dict(zip(cookies.tolist(), map(_options, rows), strict=True))
        meant = self._sockets.chosen(np.isin(self._sockets.rows["cookie"], cookies))
        found = []
        # No event that could stop this: options that were set must be set back.
        for place, s in _each(meant, threading.Event()):
            cookie = int(meant.rows["cookie"][place])
            try:
                if isinstance(s, OSError):
                    raise s
                state = connection_option.state_of(s)
                if states >> state & 1:
                    found.append(_record(cookie, state, connection_option.set_options(s, wanted[cookie])))
            except OSError:
                self.failures += 1
        return np.array(found, dtype=ACTED)


def _options(row: Any) -> KeepaliveOptions:
    names = ("keepalive", "idle_s", "interval_s", "probes", "user_timeout_ms")
    on, *numbers = (None if row[name] == LEAVE else int(row[name]) for name in names)
    return KeepaliveOptions(None if on is None else bool(on), *numbers)


def _record(cookie: int, state: int, was: KeepaliveOptions) -> NDArray[Any]:
    row = np.zeros((), dtype=ACTED)
    row["cookie"], row["state"] = cookie, state
    # Where an option was never set, getsockopt() returns the value of the sysctl.
    row["keepalive"], row["probes"] = bool(was.on), was.probes or 0
    row["idle"], row["interval"] = in_jiffies(was.idle_s or 0), in_jiffies(was.interval_s or 0)
    row["user_timeout_ms"] = was.user_timeout_ms or 0
    return row


def set_options(sockets: OpenSockets, options: KeepaliveOptions, stop: threading.Event) -> tuple[NDArray[Any], int]:
    """Set options on N connections. Returns records (n,) ACTED of what they were, and how many were refused."""
    found, failed = [], 0
    for place, s in _each(sockets, stop):
        if isinstance(s, OSError):
            failed += 1
            continue
        try:
            was = connection_option.set_options(s, options)
        except OSError:
            failed += 1
            continue
        found.append(_record(int(sockets.rows["cookie"][place]), int(sockets.rows["state"][place]), was))
    return np.array(found, dtype=ACTED), failed


def shut_down(sockets: OpenSockets, looked_at_s: float, stop: threading.Event) -> tuple[int, int, float, str]:
    """Shut N connections in CLOSE_WAIT down, so that each ends with a FIN. One that left CLOSE_WAIT is left alone.

    Returns how many were shut down, how many were refused, the longest time from the look to a change in seconds, and
    why the first of those was refused.
    """
    done = failed = 0
    window_s, why = 0.0, ""
    for place, s in _each(sockets, stop):
        if isinstance(s, OSError):
            failed += 1
            pid = 0 if sockets.pids is None else int(sockets.pids[place])
            why = why or refusal(pid, s.errno or 0).line()
            continue
        try:
            if connection_option.state_of(s) == CLOSE_WAIT:
                connection_option.shut_down(s)
                done += 1
                window_s = max(window_s, time.monotonic() - looked_at_s)
        except OSError as e:
            failed += 1
            why = why or os.strerror(e.errno or 0)
    return done, failed, window_s, why
