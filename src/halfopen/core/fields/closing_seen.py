"""Fields of open and closing connections of a namespace as a glance shows them, in `status --json`."""

from __future__ import annotations

from typing import Final

from halfopen.core.fields.field import Field
from halfopen.core.model.closing_glance import ClosingGlance

# The verdict stands beside them: `present` makes the words of it.
SEEN: Final[tuple[Field[ClosingGlance], ...]] = (
    Field(
        "close_wait",
        "connections in CLOSE_WAIT; null (not counted) where fewer than 50 sockets are open",
        lambda s: s.close_wait,
        "number or null",
    ),
    Field("time_wait", "connections in TIME_WAIT, and orphans in FIN_WAIT2", lambda s: s.waiting),
    Field(
        "local_ports",
        "ports of `ip_local_port_range`; null (not read) where fewer than 50 connections are in TIME_WAIT",
        lambda s: s.ports or None,
        "number or null",
    ),
)
