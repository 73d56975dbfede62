"""Which connections an action selects, and whether this process may change them."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.errors import NotPermitted, UsageError, privilege
from halfopen.core.model.closing_kinds import unanswered
from halfopen.core.policy.connection_actions import (
    DESTROY,
    KEEPALIVE_ON,
    PROBE_PEERS,
    SHUT_DOWN,
    ChangeConnections,
)
from halfopen.core.policy.connection_notes import HALF_CLOSED, NOT_ASKED, NOT_QUIET
from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT2,
    MINI,
    ORPHAN,
    PROBE,
    STATE_NAMES,
    OpenSockets,
)
from halfopen.core.units import plural, show_duration
from halfopen.linux.sockets import has_net_admin, open_sock_diag
from halfopen.read import closing, sockdiag

# The states that each action touches where the filter names none; below, those that the filter may name.
USUAL: Final = {
    KEEPALIVE_ON: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2),
    PROBE_PEERS: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2),
    SHUT_DOWN: (CLOSE_WAIT,),
    DESTROY: (CLOSE_WAIT,),
}
# 4, 9, 11: FIN_WAIT1, LAST_ACK, CLOSING.
_POSSIBLE: Final = {**USUAL, DESTROY: (ESTABLISHED, CLOSE_WAIT, FIN_WAIT2, 4, 9, 11)}
# A client that closed this long ago hardly waits for an answer any more.
LEAST_AGE_S: Final = 10.0


class MeantConnections(Struct, frozen=True, eq=False):
    """The connections that an action selects, as a look found them. looked_at_s: when, monotonic."""

    sockets: OpenSockets
    looked_at_s: float

    def __len__(self) -> int:
        return len(self.sockets.rows)


def states_of(action: ChangeConnections) -> int:
    """The states an action may touch, a bit each. Raises: UsageError for a state that it never touches."""
    for state in action.filter.states:
        if state not in _POSSIBLE[action.how]:
            names = ", ".join(STATE_NAMES[one] for one in _POSSIBLE[action.how])
            raise UsageError(f"{action.how} never touches {STATE_NAMES[state]}", hint=f"it can be used on {names}")
    return sum(1 << state for state in action.filter.states or USUAL[action.how])


def within(action: ChangeConnections, matched: int) -> None:
    """Raises: UsageError where more match than may be touched."""
    if matched > action.most:
        raise UsageError(
            f"{matched:,} connections match, more than --max {action.most:,}: nothing was changed",
            hint="narrow the filter, or raise --max",
        )


def may_change() -> None:
    """Check that this process may change connections of the calling thread's namespace. For eBPF the kernel asks only
    for CAP_BPF and CAP_PERFMON; we ask for CAP_NET_ADMIN there too, as it does for SOCK_DESTROY.

    Raises: NotPermitted.
    """
    if not has_net_admin():
        raise NotPermitted(
            "changing connections is refused", hint=privilege(os.geteuid(), "CAP_NET_ADMIN over the network namespace")
        )


def victims(action: ChangeConnections, states: int, notes: list[str]) -> MeantConnections:
    """The connections that an action selects. Each has a cookie, and a process holds it unless `destroy` was given
    states.

    Raises: as `closing.read`.
    """
    found = _look(action, states, notes)
    if len(found) and not found.sockets.rows["cookie"].all():
        # The kernel gives a socket its cookie only when asked for it.
        closing.give_cookies(states)
        notes.clear()
        found = _look(action, states, notes)
    keep = found.sockets.rows["cookie"] != 0
    return replace(found, sockets=found.sockets.chosen(keep))


def _look(action: ChangeConnections, states: int, notes: list[str]) -> MeantConnections:
    sockets = closing.read("auto", states, with_owners=True, notes=notes)
    rows, why = sockets.rows, action.filter.why_none(sockets)
    notes += [why] if why else []
    keep = action.filter.mask(sockets) & (rows["flags"] & MINI == 0)
    if action.how != DESTROY or not action.filter.states:
        # Before accept() no process has a connection, and an orphan ends by itself.
        keep &= (rows["inode"] != 0) & (rows["flags"] & ORPHAN == 0)
    if action.how == PROBE_PEERS:
        # While data waits for its ACK the kernel sends no keepalive probe (tcp_keepalive_timer()): a peer that is
        # there would count as silent.
        asked = rows["unacked"] == 0
        if n := int(np.count_nonzero(keep & ~asked)):
            notes.append(NOT_ASKED.format(connections=plural(n, "connection")))
        keep &= asked
    if action.how in (SHUT_DOWN, DESTROY):
        # Data sent recently may be an answer; data received recently may be about to be read.
        quiet_s = np.minimum(rows["received_ms"], rows["sent_ms"]) / 1000
        least_s = LEAST_AGE_S if action.filter.idle_s is None else action.filter.idle_s
        if action.filter.idle_s is None and (n := int(np.count_nonzero(keep & (quiet_s < least_s)))):
            notes.append(NOT_QUIET.format(connections=plural(n, "connection"), time=show_duration(least_s)))
        keep &= quiet_s >= least_s
        if n := _half_closed(rows[keep]):
            notes.append(HALF_CLOSED.format(connections=plural(n, "connection")))
    return MeantConnections(sockets.chosen(keep), sockets.looked_at_s)


def _half_closed(rows: NDArray[Any]) -> int:
    """How many of n connections (n,) SOCKET came in through a listener and may still be sent an answer."""
    with open_sock_diag() as s:
        listeners, _ = sockdiag.listeners(s)
    served = (rows["state"] == CLOSE_WAIT) & np.isin(rows["local_port"], listeners["port"])
    return int(np.count_nonzero(served & (unanswered(rows) | (rows["timer"] == PROBE))))
