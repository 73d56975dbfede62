"""The listeners of a namespace, shown with its settings: their backlogs, and the options that programs set on them."""

from __future__ import annotations

from halfopen.core.tune.goals import Values
from halfopen.core.tune.keys import SYN_RETRIES, SYNACK
from halfopen.core.tune.listener import ListenerSummary
from halfopen.core.tune.outcomes import Tuned
from halfopen.core.units import address_text
from halfopen.linux.netns import Netns
from halfopen.ops.tune.values import read
from halfopen.read import listener_options, owners
from halfopen.read.listeners import owned_listeners


def keep_backlog(ns: Netns, limit: int, most: int | None) -> list[ListenerSummary]:
    """The listeners whose backlog a raised somaxconn does not change: those that the old `limit` cut off, or, with
    `most`, all with a backlog of at most that.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    rows = owned_listeners(ns, with_owners=False).rows
    found = {}
    for row in rows:
        address, backlog = address_text(int(row["family"]), bytes(row["address"])), int(row["accept_queue_limit"])
        if backlog >= limit if most is None else backlog <= most:
            found[address, int(row["port"])] = ListenerSummary(address, int(row["port"]), backlog, None, None)
    return [found[key] for key in sorted(found, key=lambda k: (k[1], k[0]))]


def listeners(ns: Netns, values: Values) -> list[ListenerSummary]:
    """The listeners of the namespace by port; equal members of a SO_REUSEPORT group are one.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    rows = owned_listeners(ns, with_owners=False).rows
    held = owners.holders(rows["inode"].tolist())
    by_name = {key.rpartition(".")[2]: value for key, value in values.items()}
    options, _ = listener_options.read_options(held, by_name)
    found: dict[ListenerSummary, None] = {}
    for row in rows:
        own = options.get(int(row["inode"]))
        found[
            ListenerSummary(
                address_text(int(row["family"]), bytes(row["address"])),
                int(row["port"]),
                int(row["accept_queue_limit"]),
                own.retries if own else None,
                own.defer_accept_s if own else None,
            )
        ] = None
    return sorted(found, key=lambda s: (s.port, s.address, s.backlog))


def overriding(ns: Netns, outcome: Tuned) -> list[ListenerSummary]:
    """The listeners whose own TCP_SYNCNT overrides the tcp_synack_retries that was just set.

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    asked = [a for a in outcome.applied if a.key == SYNACK and a.spot.file is None and a.state != "refused"]
    if not asked:
        return []
    values = [a.value for a in asked]
    return [x for x in listeners(ns, read(ns, [SYN_RETRIES])) if x.retries is not None and x.retries not in values]
