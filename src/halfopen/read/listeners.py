"""Who listens in a namespace, and nothing else of it: it costs what the listeners cost, whatever is connected."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from halfopen.core.errors import NotPermitted, Unsupported
from halfopen.core.sample import Process
from halfopen.linux.netns import Netns
from halfopen.read import owners, procfs, sockdiag


def listeners(ns: Netns, *, with_owners: bool = True) -> tuple[NDArray[Any], dict[int, tuple[Process, ...]]]:
    """The listeners of a namespace, (L,) LISTENER, and the processes that hold each, by inode, as far as visible.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    rows = ns.run(_read)
    if not with_owners or not len(rows):
        return rows, {}
    return rows, owners.owners(owners.holders(rows["inode"].tolist()))


def _read() -> NDArray[Any]:
    try:
        with sockdiag.open_socket() as s:
            return sockdiag.listeners(s)[0]
    except (Unsupported, NotPermitted):
        return procfs.sockets()[1]
