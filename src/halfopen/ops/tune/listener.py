"""`tune listener`: look at the listeners of an address, and change them so that every change can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from halfopen.core.errors import HalfopenError, UnknownTarget
from halfopen.core.model.listeners import DEFAULT_SYNACK_RETRIES
from halfopen.core.sample import Process
from halfopen.core.tune import listener as core
from halfopen.core.tune import settings
from halfopen.core.tune.listener import Planned, Running, Wishes
from halfopen.core.tune.spots import RETRIES, Place, Spot
from halfopen.core.units import Address, listener_text, netns_words
from halfopen.linux.netns import Netns
from halfopen.ops.tune.listener_backend import Listeners
from halfopen.ops.tune.session import Applied, Session, Todo
from halfopen.ops.tune.spaces import Spaces
from halfopen.ops.tune.tune import Result, opened
from halfopen.read import listener_socket, owners
from halfopen.read import place as places


@dataclass(frozen=True, slots=True)
class Looked:
    """The listeners that were meant, and the settings of their namespace that bear on them."""

    netns: str
    sockets: list[Running]
    somaxconn: int | None
    synack_retries: int

    def plan(self, wishes: Wishes) -> list[Planned]:
        """What would be set on them. Raises: as `core.tune.listener.plan`."""
        return core.plan(self.sockets, wishes, self.somaxconn, self.synack_retries, self.netns)


def look(ns: Netns, address: Address | None, port: int) -> Looked:
    """The listeners on [address]:port of a namespace, as they are.

    Raises: UnknownTarget when nobody listens there, NotPermitted, Unsupported, KernelError.
    """
    spaces = Spaces()
    try:
        with opened(ns) as fd:
            place = places.identify(ns, fd)
            spaces.put(place, fd)
            return _look(spaces, place, address, port)
    finally:
        spaces.close()


def _look(spaces: Spaces, place: Place, address: Address | None, port: int) -> Looked:
    rows = spaces.run(place, listener_socket.rows)
    meant = [row for row in rows if core.is_meant(listener_socket.identity(row), address, port)]
    if not meant:
        raise _nobody(rows, address, port, place)
    backend = Listeners(spaces)
    found = backend.holders(rows).by_inode
    inodes = [int(row["inode"]) for row in meant]
    held = owners.owners(owners.Holders({inode: found[inode] for inode in inodes if inode in found}))
    spot = Spot(place, RETRIES, listener_socket.identity(meant[0]))
    synack = backend.setting(spot, settings.SYNACK)
    sockets = [_running(backend, place, row, rows, held.get(int(row["inode"]), ())) for row in meant]
    sockets.sort(key=lambda s: (s.socket.address, s.socket.inode))
    return Looked(
        place.name,
        sockets,
        backend.setting(spot, settings.SOMAXCONN),
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
        defers = backend.read(Spot(place, core.DEFER, who), ()) or 0
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
            f"nobody listens on {wanted}{where}, but on {name}", hint=f"halfopen tune listener {name}{here}"
        )
    return UnknownTarget(f"nobody listens on {wanted}{where}", hint=f"halfopen tune show{here} lists the listeners")


def change(
    ns: Netns,
    address: Address | None,
    port: int,
    wishes: Wishes,
    *,
    for_s: float | None = None,
    reason: str = "",
    directory: str | None = None,
) -> Result:
    """Set what is wished for on every socket that listens on [address]:port; on all of them, or on none.

    for_s: undo it after so many seconds. reason: why, for the journal. directory: of the journal.

    Raises: UnknownTarget when nobody listens there (any more), NotPermitted and Unsupported with what refuses,
    HalfopenError for what somaxconn does not allow, JournalError, KernelError; nothing is changed then.
    """
    with opened(ns) as fd, Session(directory, reason) as session:
        place = places.identify(ns, fd)
        session.spots.spaces.put(place, fd)
        session.tidy()
        looked = _look(session.spots.spaces, place, address, port)
        for one in looked.sockets:
            if one.problem is not None:
                raise one.problem
        planned = looked.plan(wishes)
        todo = [_todo(session, place, p) for p in planned]
        done = session.carry_out(todo, for_s, fd)
        applied = [_said(a, p) for a, p in zip(done.applied, planned, strict=True)]
        return Result(ns.name, applied, [], session.overdue, done.until_s, done.returns_by)


def _todo(session: Session, place: Place, p: Planned) -> Todo:
    # Under the lock, and as the journal sees it: a number may stand for an unset TCP_SYNCNT.
    spot = Spot(place, p.key, p.socket)
    return Todo(spot, session.read(spot), p.new, p.reason, p.cost)


def _said(a: Applied, p: Planned) -> Applied:
    """The outcome in the words of the plan, which knew what cannot be had."""
    if a.state == "already" and p.new != p.asked and p.key == core.BACKLOG:
        return replace(a, asked=p.asked, state="refused", why=p.why)
    if a.state == "done" and p.new != p.asked:
        return replace(a, asked=p.asked, state="clamped" if p.key == core.BACKLOG else "done", why=p.why)
    return a


def first(planned: Sequence[Planned], netns: str) -> str | None:
    """The command that lifts what is in the way of a plan; None when nothing is."""
    wanted = max((p.asked for p in planned if p.key == core.BACKLOG and p.new < p.asked), default=None)
    return None if wanted is None else f"halfopen tune apply --set somaxconn={wanted}{netns_words(netns)}"
