"""`tune listener`: look at the listeners of an address, and change them so that every change can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from halfopen.change.audit import AuditLog
from halfopen.core.errors import Changed, HalfopenError, UnknownTarget
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES
from halfopen.core.policy.actions import ChangeListener, FoundValue
from halfopen.core.sample import Process
from halfopen.core.tune import keys
from halfopen.core.tune.keys import BACKLOG, DEFER, RETRIES
from halfopen.core.tune.listener import Running, Wishes, changes_for, meant_by
from halfopen.core.tune.plan import Plan, check_reason, found
from halfopen.core.tune.spots import Place, Spot
from halfopen.core.units import Address, listener_text, netns_words
from halfopen.linux.netns import Netns
from halfopen.ops.tune.listener_io import Listeners
from halfopen.ops.tune.session import View
from halfopen.ops.tune.spaces import Spaces, opened
from halfopen.read import listener_socket, netns_lookup, owners


class Looked(Struct, frozen=True):
    """The selected listeners, and the settings of their namespace that affect them."""

    netns: str
    sockets: list[Running]
    somaxconn: int | None
    synack_retries: int


def look_at_listener(ns: Netns, address: Address | None, port: int) -> Looked:
    """The listeners on [address]:port of a namespace.

    Raises: UnknownTarget if nothing listens there, NotPermitted, Unsupported, KernelError.
    """
    spaces = Spaces()
    try:
        with opened(ns) as fd:
            place = netns_lookup.identify(ns, fd)
            spaces.put(place, fd)
            return _look(spaces, place, address, port)
    finally:
        spaces.close()


def _look(spaces: Spaces, place: Place, address: Address | None, port: int) -> Looked:
    rows = spaces.run(place, listener_socket.rows)
    named = meant_by(map(listener_socket.identity, rows), address, port)
    meant = [row for row in rows if listener_socket.identity(row) in named]
    if not meant:
        raise _nobody(rows, address, port, place)
    backend = Listeners(spaces)
    found = backend.holders(rows).by_inode
    inodes = [int(row["inode"]) for row in meant]
    held = owners.owners(owners.Holders({inode: found[inode] for inode in inodes if inode in found}))
    spot = Spot(place, RETRIES, listener_socket.identity(meant[0]))
    synack = backend.setting(spot, keys.SYNACK)
    sockets = [_running(backend, place, row, rows, held.get(int(row["inode"]), ())) for row in meant]
    sockets.sort(key=lambda s: (s.socket.address, s.socket.inode))
    return Looked(
        place.name,
        sockets,
        backend.setting(spot, keys.SOMAXCONN),
        DEFAULT_SYNACK_RETRIES if synack is None else synack,
    )


def _running(backend: Listeners, place: Place, row: Any, rows: Any, processes: tuple[Process, ...]) -> Running:
    who = listener_socket.identity(row)
    found = Running(
        who,
        int(row["accept_queue_limit"]),
        int(row["accept_queue"]),
        None,
        0,
        int(row["ifindex"]),
        processes=processes,
    )
    try:
        retries = backend.read(Spot(place, RETRIES, who), ())
        defers = backend.read(Spot(place, DEFER, who), ()) or 0
        with backend.duplicate(Spot(place, RETRIES, who), rows) as s:
            return replace(found, retries=retries, defer_accept_s=defers, mptcp=listener_socket.is_mptcp(s))
    except HalfopenError as e:
        return replace(found, problem=e)


def _nobody(rows: Any, address: Address | None, port: int, place: Place) -> UnknownTarget:
    where, here = "" if place.name == "self" else f" in {place.name}", netns_words(place.name)
    wanted = f"{f'[{address}]' if address and address.version == 6 else address or ''}:{port}"
    others = [listener_socket.identity(row) for row in rows[rows["port"] == port]]
    if others:
        name = listener_text(others[0].address, port)
        return UnknownTarget(
            f"nothing listens on {wanted}{where}, only on {name}", hint=f"halfopen tune listener {name}{here}"
        )
    return UnknownTarget(f"nothing listens on {wanted}{where}", hint=f"halfopen tune show{here} lists the listeners")


def plan_listener(
    ns: Netns,
    address: Address | None,
    port: int,
    wishes: Wishes,
    *,
    for_s: float | None = None,
    reason: str = "",
    directory: str | None = None,
    audit_log: str | None = None,
) -> Plan:
    """The changes that set the wanted values on every socket that listens on [address]:port (None: any address).

    for_s: revert them after that many seconds. reason: why, for the records. directory, audit_log: see `Executor`.

    Raises: UnknownTarget if nothing listens there, NotPermitted and Unsupported with the reason, HalfopenError if
    somaxconn does not allow it, UsageError, JournalError, KernelError, HalfopenError "audit".
    """
    check_reason(reason)
    with opened(ns) as fd, View(directory) as view:
        place = netns_lookup.identify(ns, fd)
        view.spots.spaces.put(place, fd)
        looked = _look(view.spots.spaces, place, address, port)
        for one in looked.sockets:
            if one.problem is not None:
                raise one.problem
        planned = changes_for(looked.sockets, wishes, looked.somaxconn, looked.synack_retries, place)
        # The value as in the journal: a number may stand for a TCP_SYNCNT that was not set.
        changes = tuple(replace(c, found=FoundValue(found(c).spot, view.read(found(c).spot))) for c in planned)
        made = Plan(place, changes, reason, for_s, meant=(address, port), first=_first(planned, ns.name))
        view.journal.check()
        if made.todo:
            AuditLog(audit_log).check()
        return made


def must_be_all(view: View, plan: Plan) -> None:
    """Check that the sockets of a plan are those that listen there now, so that all of them are changed or none.

    Raises: Changed, UnknownTarget if nothing listens there any more, NotPermitted.
    """
    assert plan.meant is not None  # noqa: S101 - for mypy: asked of such a plan alone
    address, port = plan.meant
    rows = view.spots.spaces.run(plan.place, listener_socket.rows)
    there = meant_by(map(listener_socket.identity, rows), address, port)
    if not there:
        raise _nobody(rows, address, port, plan.place)
    planned = {found(c).spot.listener for c in plan.changes}
    if {(who.inode, who.cookie) for who in there} != {(who.inode, who.cookie) for who in planned if who is not None}:
        raise Changed(f"the sockets that listen on {listener_text(there[0].address, port)} have changed since")


def _first(planned: Sequence[ChangeListener], netns: str) -> str | None:
    """The command that must be run before a plan, to raise somaxconn; None: none."""
    wanted = max((c.asked for c in planned if c.key == BACKLOG and c.asked is not None), default=None)
    return None if wanted is None else f"halfopen tune apply --set somaxconn={wanted}{netns_words(netns)}"
