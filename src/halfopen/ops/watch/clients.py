"""The known clients, for policies that spare clients: read as often as the cost allows."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from msgspec import Struct, field

from halfopen.core.model.clients import KnownClients
from halfopen.core.model.model import Model
from halfopen.linux.netns import Netns
from halfopen.read import clients

# The largest share of the time for reading them.
_SHARE: Final = 0.05
_KEPT_S: Final = 2.0
# How many sources with counted handshakes are kept; others are found only by the other two ways.
_MOST_COUNTED: Final = 1_000_000


class ClientsOf(Struct):
    """The clients of each namespace, by inode."""

    _known: dict[int, KnownClients] = field(default_factory=dict)
    _again_s: dict[int, float] = field(default_factory=dict)

    def count(self, inode: int, model: Model) -> None:
        """Add the sources whose handshakes were counted in a reading."""
        known, arrived = self._known.get(inode), model.arrived
        if known is not None and arrived is not None and len(known.finished) < _MOST_COUNTED:
            finished = arrived.sources["number"][arrived.sources["finished"] > 0]
            self._known[inode] = known.with_finished(finished.astype(np.uint64))

    def of(self, ns: Netns) -> KnownClients:
        """The clients of a namespace. Raises: as `read.clients.read`."""
        began = time.monotonic()
        if began >= self._again_s.get(ns.inode, 0.0):
            before = self._known.get(ns.inode)
            now = ns.run(clients.read)
            self._known[ns.inode] = now if before is None else now.with_finished(before.finished)
            ended = time.monotonic()
            self._again_s[ns.inode] = ended + max(_KEPT_S, (ended - began) * (1 / _SHARE - 1))
        return self._known[ns.inode]

    def forget(self, inode: int) -> None:
        """Forget a namespace that is gone."""
        self._known.pop(inode, None)
        self._again_s.pop(inode, None)
