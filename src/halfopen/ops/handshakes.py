"""Watches handshakes finish for a while, in one namespace or everywhere on the machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.model.handshakes import NetnsHandshakes, Observed, by_listener, chosen, difference
from halfopen.core.sample.handshakes import HandshakeCounters
from halfopen.core.where import Namespace
from halfopen.linux.identity import boot_id, host
from halfopen.linux.netns import Netns, current
from halfopen.read import discover
from halfopen.read.bpf.handshakes import HandshakePrograms
from halfopen.read.listeners import owned_listeners


def observe(
    ns: Netns | None,
    seconds: float,
    filter: Filter,
    stop: threading.Event,
    *,
    everywhere: bool = False,
    wait: Callable[[float], bool] | None = None,
) -> Observed:
    """Count for `seconds`, or until `stop` is set, in a namespace (None: this process's) or everywhere.

    wait: used in place of `stop.wait`: waits that many seconds and returns whether it was ended early.

    Raises: Unsupported, NotPermitted, KernelError, UnknownTarget.
    """
    target = ns or current()
    with HandshakePrograms(0 if everywhere else target.inode) as programs:
        begun = time.time()
        before = programs.read()
        interrupted = (wait or stop.wait)(seconds)
        gained = chosen(difference(programs.read(), before), filter)
        missing = programs.missing
    skipped: list[str] = []
    namespaces = _everywhere(gained, skipped) if everywhere else [_one(gained, target, skipped)]
    return Observed(
        time=begun,
        host=host(),
        seconds=gained.seconds,
        interrupted=interrupted,
        missing=missing,
        unfit=gained.unfit,
        namespaces=tuple(namespaces),
        skipped=tuple(skipped),
    )


def _everywhere(gained: HandshakeCounters, skipped: list[str]) -> list[NetnsHandshakes]:
    """The namespaces that had handshakes, the busiest first. One without name and processes goes by its inode."""
    inodes = dict.fromkeys(gained.keys["netns"].tolist())
    known = {ns.inode: ns for ns in discover.discover().namespaces} if inodes else {}
    found = []
    for inode in inodes:
        if inode in known:
            found.append(_one(gained, known[inode], skipped))
        else:
            found.append(by_listener(gained, Namespace(boot_id(), inode, name=f"net:[{inode}]")))
    found = [one for one in found if one.listeners]
    return sorted(found, key=lambda one: -one.all.completed)


def _one(gained: HandshakeCounters, ns: Netns, skipped: list[str]) -> NetnsHandshakes:
    try:
        found = owned_listeners(ns)
    except HalfopenError as e:
        skipped.append(f"{ns.name}: its listeners could not be read: {e.message}")
        return by_listener(gained, Namespace(boot_id(), ns.inode, None, ns.name, ns.path, ns.lives_in))
    return by_listener(gained, found.where, found.rows, found.owners)
