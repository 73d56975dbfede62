"""Whose processes are worth a closer look: those that hold sockets on which connections wait to be accepted."""

from __future__ import annotations

from typing import Final

import numpy as np

from halfopen.core.model.model import Model

# A pre-fork server may have hundreds of workers.
_MOST: Final = 64


def holders(model: Model) -> list[int]:
    """The pids of processes that hold listening sockets with a connection in the accept queue, the fullest first.

    Of one socket the youngest first: workers are younger than the parent that only watches over them.
    """
    rows = model.sample.listeners
    waiting = rows["accept_queue"] > 0
    if not waiting.any():
        return []
    rows = rows[waiting]
    fullest = np.argsort(-(rows["accept_queue"] / (rows["accept_queue_limit"] + 1.0)), kind="stable")
    owners = model.sample.owners
    inodes = rows["inode"][fullest].tolist()
    pids = dict.fromkeys(p.pid for inode in inodes for p in reversed(owners.get(inode, ())))
    return list(pids)[:_MOST]
