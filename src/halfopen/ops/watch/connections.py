"""Looks of a watch at open and closing connections: rare, as reading all of them takes time and memory."""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Finding
from halfopen.core.model.closing_glance import MANY, READ_MOST
from halfopen.core.model.model import Model
from halfopen.core.policy.connections import LastingTrouble
from halfopen.core.sample.closing import ALL_STATES, OpenSockets
from halfopen.linux.netns import Netns
from halfopen.ops.closing.look import judge_connections, with_connections
from halfopen.read import closing, procfs

# The time between looks at a namespace, and the largest share of the time for looks at all of them.
_EVERY_S: Final = 30.0
_SHARE: Final = 0.005
# Up to this many connections are kept for comparison with the next look.
_KEPT_MOST: Final = 100_000
# The first look has nothing to compare with; two more show what lasts.
_TELL: Final = 3


class _Looked(Struct):
    """due_s: when the next look may be. before: the last look. looks: how many were made or failed."""

    looks: int = 0
    due_s: float = float("-inf")
    before: OpenSockets | None = None
    trouble: LastingTrouble = field(default_factory=LastingTrouble)


_NOTHING: Final = LastingTrouble()


class ConnectionLooks:
    """What is known of the open and closing connections of namespaces, by inode.

    every_s: how far the looks at one namespace are apart at least; share: of the time that all looks may take.
    """

    def __init__(self, every_s: float = _EVERY_S, share: float = _SHARE) -> None:
        self._every_s, self._share = every_s, share
        self._of: dict[int, _Looked] = {}
        self._again_s = float("-inf")

    def of(self, inode: int) -> LastingTrouble:
        """The result of the looks at a namespace."""
        looked = self._of.get(inode)
        return _NOTHING if looked is None else looked.trouble

    def settled(self, inode: int) -> bool:
        """Whether enough looks at a namespace were made to show what lasts, or looks are not possible."""
        looked = self._of.get(inode)
        return looked is not None and looked.looks >= _TELL

    def forget(self, inode: int) -> None:
        """Forget a namespace that is gone."""
        self._of.pop(inode, None)

    def look(self, model: Model, way: str) -> bool:
        """Look at the namespace of a reading if a look is due. Returns whether it was. way: as for `reader.read`."""
        began, where = time.monotonic(), model.sample.where
        looked = self._of.setdefault(where.inode, _Looked())
        if way == "proc" or began < max(looked.due_s, self._again_s):
            looked.looks += _TELL * (way == "proc")
            return False
        looked.due_s = began + self._every_s
        looked.looks += 1
        try:
            ns = Netns(where.name, where.inode, where.path, where.lives_in)
            now = ns.run(lambda: _read(len(model.sample.listeners), way))
        except (HalfopenError, MemoryError):
            return False  # refused, or the namespace is gone; `halfopen closing` says why
        looked.trouble = looked.trouble.after(() if now is None else _found(model, now, looked.before))
        looked.before = now if now is not None and len(now.rows) <= _KEPT_MOST else None
        after = time.monotonic()
        self._again_s = after + (after - began) * (1 / self._share - 1) if now is not None else began
        return True


def _read(listeners: int, way: str) -> OpenSockets | None:
    """The connections of the calling thread's namespace; None if they are few, or too many."""
    in_use, waiting = procfs.socket_totals()
    if not MANY <= in_use + waiting - listeners <= READ_MOST:
        return None
    return closing.read(way, ALL_STATES, with_owners=True, notes=[])


def _found(model: Model, now: OpenSockets, before: OpenSockets | None) -> tuple[Finding, ...]:
    earlier = None if before is None else with_connections(model, before)
    return judge_connections(Evidence(with_connections(model, now), earlier)).verdict.findings
