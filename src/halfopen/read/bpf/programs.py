"""The eBPF programs that readings use, loaded when first asked for and kept until the process ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfopen.core.errors import HalfopenError
from halfopen.linux.bpf import bpf_object, kept
from halfopen.read.bpf.census import Census, IterCensus, NamingCensus
from halfopen.read.bpf.owners import Owners
from halfopen.read.bpf.pulse import Pulse
from halfopen.read.bpf.walk import WalkCensus

if TYPE_CHECKING:
    from halfopen.read.bpf.closing import SocketIterator, SocketWalk


def pulse() -> Pulse:
    """The pulse, loaded. Raises: Unsupported and NotPermitted, which are remembered; KernelError."""
    return kept.get(Pulse)


def owners() -> Owners:
    """The loaded program that finds the owners of sockets. Raises: as `pulse`."""
    return kept.get(Owners)


def census() -> Census:
    """The census, loaded: the walk if the kernel accepts it, otherwise the iterator. Raises: as `pulse`."""
    try:
        return kept.get(WalkCensus)
    except HalfopenError:
        return kept.get(IterCensus)


def naming() -> NamingCensus:
    """The census that gives cookies, loaded. Raises: as `pulse`."""
    return kept.get(NamingCensus)


def socket_walk() -> SocketWalk:
    """The walk over open and closing sockets, loaded. Raises: as `pulse`."""
    from halfopen.read.bpf.closing import SocketWalk

    return kept.get(SocketWalk)


def socket_iterator() -> SocketIterator:
    """The same by the kernel's iterator. Raises: as `pulse`."""
    from halfopen.read.bpf.closing import SocketIterator

    return kept.get(SocketIterator)


def begin() -> None:
    """Start loading the programs of a reading in parallel threads: most of that time is spent in the kernel.

    Errors are raised later, by the function that returns the program.
    """
    for kind, name in ((WalkCensus, "walk"), (Pulse, "pulse")):
        if not kept.known(kind):
            bpf_object.preload(name)


def close() -> None:
    """Unload all programs, and forget refusals."""
    kept.close()
    bpf_object.forget()
