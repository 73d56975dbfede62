"""A guard armed on the server of a lab, without the command around it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from halfopen.core.policy.actions import Protect
from halfopen.core.sample.guard import TC
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, resolve
from halfopen.ops.protect.armed import Armed
from peers import until

if TYPE_CHECKING:
    from halfopen.core.sample.guard import GuardCounts
    from halfopen.lab import Lab, LabListener

PATIENCE_S = 20.0
TCP_INFO = 11
TIMESTAMPS, SACK, WSCALE, ECN = 1, 2, 4, 8


def action(lab: Lab, *ports: int, share: float = 0.25) -> tuple[Netns, Protect]:
    """The namespace of the lab's server, and what guards these ports there."""
    ns = resolve(lab.server.netns_path)
    return ns, Protect(identify(ns), tuple((None, port) for port in ports), "test", share)


@contextmanager
def armed(lab: Lab, *ports: int, share: float = 0.25, rung: str = TC, renewed: bool = True) -> Iterator[Armed]:
    """Armed on these ports (none: on all listeners); share 0: always engaged. renewed: it answers until the end, also
    where the test takes long."""
    made, over = Armed(*action(lab, *ports, share=share), rung), threading.Event()

    def renew() -> None:
        while not over.wait(1.0):
            made.guard.renew()

    keeps = threading.Thread(target=renew)
    if renewed:
        keeps.start()
    try:
        yield made
    finally:
        over.set()
        if renewed:
            keeps.join()
        made.close()


def connect(lab: Lab, port: int, target: str = "", **bound: Any) -> socket.socket:
    """A client's connection. bound: source_address."""
    return lab.client.run(lambda: socket.create_connection((target or lab.server.v4, port), PATIENCE_S, **bound))


def options(s: socket.socket) -> int:
    """The options of a connection, as TCP_INFO has them (tcpi_options)."""
    return s.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 104)[5] & (TIMESTAMPS | SACK | WSCALE | ECN)


def engaged(lab: Lab, listener: LabListener, guard: Armed, rate: float = 5000, duration_s: float = 30.0) -> None:
    """Flood a listener until the guard answers for it."""
    lab.client.flood(listener, rate, duration_s, family=None if listener.v6 else 4)
    until(lambda: guard.counts().answered > 0)


def counted(guard: Armed, name: str, least: int = 1) -> GuardCounts:
    """Its counters, once one of them has come so far. Raises: AssertionError."""
    until(lambda: int(getattr(guard.counts(), name)) >= least, 20)
    return guard.counts()
