"""The listeners of a namespace alone: the cost depends on their number, not on connections."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.errors import NotPermitted, Unsupported
from halfopen.core.sample import Process
from halfopen.core.where import Namespace
from halfopen.linux.identity import of_thread
from halfopen.linux.netns import Netns
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import owners, procfs, sockdiag


class OwnedListeners(Struct, frozen=True, eq=False):
    """The listeners of a namespace, (L,) LISTENER, and by inode the processes that hold each, as far as visible."""

    where: Namespace
    rows: NDArray[Any]
    owners: dict[int, tuple[Process, ...]]


def owned_listeners(ns: Netns, *, with_owners: bool = True) -> OwnedListeners:
    """The listeners of a namespace. with_owners: also find the processes that hold them.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    where, rows = ns.run(lambda: (of_thread(ns), _read()))
    if not with_owners or not len(rows):
        return OwnedListeners(where, rows, {})
    return OwnedListeners(where, rows, owners.owners(owners.holders(rows["inode"].tolist())))


def _read() -> NDArray[Any]:
    try:
        with open_sock_diag() as s:
            return sockdiag.listeners(s)[0]
    except (Unsupported, NotPermitted):
        return procfs.sockets()[1]
