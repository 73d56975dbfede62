"""What `tune show` says of listeners: the backlog each has and what its program set on it."""

from __future__ import annotations

from halfopen.core.tune.settings import Values
from halfopen.core.units import address_text
from halfopen.linux.netns import Netns
from halfopen.present.tune.changes import Socket
from halfopen.read import listener_options, owners
from halfopen.read import listeners as listening


def keep_backlog(ns: Netns, limit: int, most: int | None) -> list[Socket]:
    """The listeners that keep their backlog when somaxconn is raised from `limit`: those that have all it lets them
    have, or (most) whose backlog is at most so long.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    rows = listening.listeners(ns, with_owners=False).rows
    found = {}
    for row in rows:
        address, backlog = address_text(int(row["family"]), bytes(row["address"])), int(row["accept_queue_limit"])
        if backlog >= limit if most is None else backlog <= most:
            found[address, int(row["port"])] = Socket(address, int(row["port"]), backlog, None, None)
    return [found[key] for key in sorted(found, key=lambda k: (k[1], k[0]))]


def listeners(ns: Netns, values: Values) -> list[Socket]:
    """The listeners of the namespace by port; members of a SO_REUSEPORT group that are alike are one.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    rows = listening.listeners(ns, with_owners=False).rows
    held = owners.holders(rows["inode"].tolist())
    by_name = {key.rpartition(".")[2]: value for key, value in values.items()}
    options, _ = listener_options.options(held, by_name)
    found: dict[Socket, None] = {}
    for row in rows:
        own = options.get(int(row["inode"]))
        found[
            Socket(
                address_text(int(row["family"]), bytes(row["address"])),
                int(row["port"]),
                int(row["accept_queue_limit"]),
                own.retries if own else None,
                own.defer_accept_s if own else None,
            )
        ] = None
    return sorted(found, key=lambda s: (s.port, s.address, s.backlog))
