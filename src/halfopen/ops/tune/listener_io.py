"""Options of running listeners as spots of the journal, found again by inode and cookie in whichever process
holds them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Container
from typing import Any, Final

from halfopen.change import listener_option, sysctl
from halfopen.core.errors import HalfopenError, NotPermitted, UnknownTarget
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES
from halfopen.core.tune.keys import BACKLOG, DEFER, RETRIES, SOMAXCONN, SYN_RETRIES, SYNACK
from halfopen.core.tune.listener import holders_text, standing_retries
from halfopen.core.tune.spots import ListeningSocket, Spot
from halfopen.core.units import listener_text, netns_words
from halfopen.ops.tune.spaces import Spaces
from halfopen.read import listener_socket, owners

# If a short search does not find the holder of a socket, search once more, for this long.
_AGAIN_S: Final = 5.0


class Listeners:
    """Reads and writes the options of listeners."""

    def __init__(self, spaces: Spaces) -> None:
        self._spaces = spaces
        self._holders: owners.Holders | None = None

    def read(self, spot: Spot, ours: Container[int | None]) -> int | None:
        """As `Backend.read`."""
        row, rows = self._row(spot)
        if spot.key == BACKLOG:
            return int(row["accept_queue_limit"])
        with self.duplicate(spot, rows) as s:
            if spot.key == DEFER:
                return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
            return self._retries(s, spot, len(rows), ours)

    def instead(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.instead`."""
        if value is not None or spot.key != RETRIES:
            return None
        # tcp_sock_set_syncnt() accepts 1 to 127, so the 0 of a new socket cannot be restored.
        held = self.setting(spot, SYNACK)
        return standing_retries(DEFAULT_SYNACK_RETRIES if held is None else held)

    def write(self, spot: Spot, value: int | None) -> int | None:
        """As `Backend.write`."""
        assert value is not None  # noqa: S101 - for mypy: what cannot be unset has an `instead`
        if spot.key == BACKLOG:
            self._must_fit(spot, value)
        _, rows = self._row(spot)
        with self.duplicate(spot, rows) as s:
            listener_option.write(s, spot.key, value)
        return self.read(spot, (value,))

    def setting(self, spot: Spot, key: str) -> int | None:
        """A setting of the spot's namespace. Raises: as `Spaces.run`."""
        return self._spaces.run(spot.place, lambda: sysctl.read(key))

    def _must_fit(self, spot: Spot, backlog: int) -> None:
        limit = self.setting(spot, SOMAXCONN)
        if limit is not None and backlog > limit:
            raise HalfopenError(
                "somaxconn",
                f"somaxconn = {limit} does not allow a backlog of {backlog}",
                hint=f"first halfopen tune apply --set somaxconn={backlog}{netns_words(spot.place.name)}",
            )

    def _retries(self, s: socket.socket, spot: Spot, expected: int, ours: Container[int | None]) -> int | None:
        try:
            held = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT)
        except OSError:
            return None  # a Multipath TCP socket does not have the option
        # If it was never set, the kernel returns tcp_syn_retries of the namespace (do_tcp_getsockopt()).
        if held != self.setting(spot, SYN_RETRIES):
            return held
        known = self._spaces.run(spot.place, lambda: listener_socket.set_retries(expected)) or {}
        cookie = spot.listener.cookie if spot.listener else 0
        if cookie in known:
            return known[cookie] or None
        return held if held in ours else None

    def _row(self, spot: Spot) -> tuple[Any, Any]:
        """The listener's row, and all rows. Raises: UnknownTarget if the listener is gone."""
        who = spot.listener
        assert who is not None  # noqa: S101 - for mypy: `Spots` asks for no other
        rows = self._spaces.run(spot.place, listener_socket.rows)
        found = rows[(rows["cookie"] == who.cookie) & (rows["inode"] == who.inode)]
        if len(found):
            return found[0], rows
        raise UnknownTarget(_gone(who, rows))

    def duplicate(self, spot: Spot, rows: Any) -> socket.socket:
        """A duplicate of the spot's listener, to be closed soon; rows: the listeners of its namespace.

        Raises: UnknownTarget if it was closed, NotPermitted and Unsupported with the reason, KernelError.
        """
        who = spot.listener
        assert who is not None  # noqa: S101 - as above
        for again in (False, True):
            lent = listener_socket.lend(who, self._held(who, rows, again=again))
            if lent is not None:
                return lent
        self._row(spot)
        raise _hidden(who, self._holders)

    def holders(self, rows: Any) -> owners.Holders:
        """The processes that hold the listeners in `rows`, those of a namespace; searched once."""
        if self._holders is None:
            self._holders = owners.holders(rows["inode"].tolist())
        return self._holders

    def _held(self, who: ListeningSocket, rows: Any, *, again: bool) -> list[tuple[int, int]]:
        if again or self._holders is None or who.inode not in self._holders.by_inode:
            # One search through all processes for all listeners; then a longer one for those still without a holder.
            self._holders = owners.holders(rows["inode"].tolist(), budget_s=_AGAIN_S if again else None)
        return self._holders.by_inode.get(who.inode, [])


def _gone(who: ListeningSocket, rows: Any) -> str:
    """Why a listener is not among `rows` any more."""
    name = listener_text(who.address, who.port)
    for row in rows[rows["port"] == who.port]:
        if listener_socket.identity(row).address == who.address:
            inode = int(row["inode"])
            by = holders_text(owners.owners(owners.holders([inode])).get(inode, ()))
            return (
                f"it was closed and re-created: another socket now listens on {name}{f', held by {by}' if by else ''}"
            )
    return f"it was closed: nothing listens on {name} any more"


def _hidden(who: ListeningSocket, found: owners.Holders | None) -> HalfopenError:
    name = listener_text(who.address, who.port)
    if found is not None and found.refused:
        hint = "run it on the host" if os.geteuid() == 0 else "run as root (sudo)"
        return NotPermitted(f"the process that holds {name} is hidden: its open files cannot be read", hint=hint)
    if found is not None and found.broken_off:
        return NotPermitted(
            f"the process that holds {name} was not found within {_AGAIN_S:g} s among the open files of this machine",
            hint="halfopen doctor shows what the faster search (eBPF) needs",
        )
    return NotPermitted(
        f"no process that can be seen from here holds {name}: it is in another pid namespace, or the kernel's own",
        hint="run it on the host with --netns pid:N",
    )
