"""Open and closing connections for commands about half-open ones: a glance, and a look where that shows trouble."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from halfopen.core.errors import HalfopenError
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.model.closing_glance import MANY, READ_MOST, ClosingGlance
from halfopen.core.model.model import Model
from halfopen.linux.netns import Netns
from halfopen.read import closing_glance, procfs

if TYPE_CHECKING:
    from halfopen.core.sample.closing import OpenSockets

# No look begins later than this: a command about half-open connections should not wait long for others.
_LOOKS_S: Final = 2.0


def in_passing(models: Sequence[Model], way: str, *, least: int = MANY) -> list[ClosingSeen]:
    """What is seen of the connections of these namespaces, in their order. way: as for `reader.read`; least: as for
    `closing_glance.glance`.
    """
    end_s, found = time.monotonic() + _LOOKS_S, []
    for model in models:
        where = model.sample.where
        ns = Netns(where.name, where.inode, where.path, where.lives_in)
        seen = closing_glance.glance(ns, len(model.sample.listeners), least=least)
        wanted = (seen.leaks or seen.ports_run_out) and way != "proc" and time.monotonic() < end_s
        found.append(_looked(model, ns, seen, way) if wanted else ClosingSeen(seen))
    return found


def _looked(model: Model, ns: Netns, seen: ClosingGlance, way: str) -> ClosingSeen:
    # Imported here: few hosts have such trouble, and the others should not wait for the imports.
    from halfopen.core.findings.evidence import Evidence
    from halfopen.ops.closing.look import judge_connections, with_connections

    try:
        sockets = ns.run(lambda: _read(way))
    except (HalfopenError, MemoryError):
        return ClosingSeen(seen)  # `halfopen closing` says why
    if sockets is None:
        return ClosingSeen(seen)
    looked = judge_connections(Evidence(with_connections(model, sockets)))
    return ClosingSeen(seen, looked.model, looked.verdict)


def _read(way: str) -> OpenSockets | None:
    """The connections of the calling thread's namespace; None where there are more than READ_MOST."""
    from halfopen.core.sample.closing import ALL_STATES
    from halfopen.read import closing

    if sum(procfs.socket_totals()) > READ_MOST:
        return None
    return closing.read(way, ALL_STATES, with_owners=True, notes=[])
