"""What is made of open and closing connections: groups of process, state, peer and signature, with their
growth. Pure.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.closing_filter import CLIENTS_OF
from halfopen.core.model.closing_addresses import peer_ids, remote_text
from halfopen.core.model.closing_ages import StateAges, ages
from halfopen.core.model.closing_kinds import Signature, awaiting, may_trickle, signatures, unanswered
from halfopen.core.model.closing_ports import Destination, destinations_of, ports_given_up
from halfopen.core.model.numbering import numbered
from halfopen.core.sample.closing import (
    CLOSE_WAIT,
    ESTABLISHED,
    KEEPALIVE,
    PROBE,
    STATE_NAMES,
    STATES,
    SYN_SENT,
    WIDE,
    OpenSockets,
)
from halfopen.core.sample.listeners import Process
from halfopen.core.units import endpoint_text

# A leak's rate is taken from the ages below this.
LATELY_S: Final = 10.0
_LEAST_SPAN_S: Final = 1.0
# If a server hangs up on a whole pool at once, the ages of its connections lie within this many seconds.
CLUMP_S: Final = 1.0
# Groups that are made into objects: the largest ones.
_MOST_GROUPS: Final = 400
# More than this many peers, with fewer connections each than this, make one group.
_MANY_PEERS: Final = 20
_FEW_EACH: Final = 10
# A comparison with the look before takes a pass over all sockets.
_MOST_COMPARED: Final = 40
# Ages are even where each quarter of their span has at least this share of what it would have.
_EVEN: Final = 0.25
_QUARTERS: Final = 4
_OF_A_GROUP: Final = (
    *("bytes_received", "flags", "heard_ms", "pages", "probes", "received_ms", "retransmits", "sent_ms"),
    *("timer", "unacked", "unread"),
)
# Answers that differ by less than this many bytes and this share are of one size.
_SOME_BYTES: Final = 4
_SAME_SIZE: Final = 0.01
# States in which a program holds a connection.
_HELD: Final = (ESTABLISHED, SYN_SENT, CLOSE_WAIT)
# Fewer are never called even.
_SOME: Final = 8


class SocketGroup(Struct, frozen=True):
    """Connections of one process (None: of nobody that was found), state, peer and signature.

    incoming: they came to a listener, on `local_port`; else they were opened towards `peer`. peers: how many that are;
    above one, the process has few connections to each of many, and `peer` says "212 peers". count: how many. new: of
    them, younger than LATELY_S; oldest_s, youngest_s: by the least each can be. exact: the ages are exact. even: ages
    are spread evenly, as those of a leak are. pages: of tcp_mem. unread, unacked: bytes in all; with_unread: how many
    have any unread. alike: the share that received about as many bytes as the usual one. keepalive: how many have it
    on. retransmits: the most of one,
    or its most unanswered probes of a closed window. unanswered: in CLOSE_WAIT, sent nothing since the last data came;
    trickles: may have sent some after the FIN came.
    awaiting: in ESTABLISHED, nothing came since the last data was sent. came, left: since the look before; None after
    one look. moved: of them, had data either way since then; went_on: of those, the ones that were in this state
    before. opened: of those that came, not there in any state before; reused: there before, and had data in the second
    half of the time since then.
    """

    process: Process | None
    pid: int
    state: int
    signature: Signature
    peer: str
    incoming: bool
    local_port: int
    count: int
    new: int
    oldest_s: float
    youngest_s: float
    exact: bool
    even: bool
    pages: int
    unread: int
    unacked: int
    alike: float
    keepalive: int
    retransmits: int
    members: NDArray[np.intp]
    unanswered: int = 0
    trickles: int = 0
    with_unread: int = 0
    awaiting: int = 0
    peers: int = 1
    came: int | None = None
    left: int | None = None
    moved: int | None = None
    opened: int | None = None
    reused: int | None = None
    went_on: int | None = None

    @property
    def state_name(self) -> str:
        """The state as the kernel names it."""
        return STATE_NAMES.get(self.state, str(self.state))

    @property
    def owner_and_peer(self) -> tuple[int, str]:
        """Whose connections with whom: the same of groups that differ in state or signature alone."""
        return self.pid, "" if self.peers > 1 else self.peer

    @property
    def per_s(self) -> float:
        """New ones a second: of a leak nothing goes, so the ages of one look tell its rate."""
        # A single one of a few milliseconds would be a hundred a second.
        return self.new / min(LATELY_S, max(self.oldest_s, _LEAST_SPAN_S))

    @property
    def grows(self) -> bool | None:
        """Whether some came and none left; None where one look does not tell."""
        if self.came is not None and self.left is not None:
            return self.came > 0 and self.left == 0
        if not self.new or self.of_one_age:
            return False
        return True if self.even else None

    @property
    def of_one_age(self) -> bool:
        """Whether several came to their state at once."""
        return self.count > 1 and self.oldest_s - self.youngest_s <= CLUMP_S


class ClosingModel(Struct, frozen=True, eq=False):
    """The connections of a namespace. groups: the largest first. destinations: with the most ports used, first.
    by_state: how many are in each state, (STATES,). seconds: between the two looks; None: there was one.
    """

    sockets: OpenSockets
    ages: StateAges
    signatures: NDArray[np.uint8]
    groups: tuple[SocketGroup, ...]
    destinations: tuple[Destination, ...]
    by_state: tuple[int, ...]
    seconds: float | None = None

    def of(self, *kinds: Signature) -> list[SocketGroup]:
        """The groups of these signatures."""
        return [group for group in self.groups if group.signature in kinds]


def build_closing(now: OpenSockets, ports: NDArray[Any], before: OpenSockets | None = None) -> ClosingModel:
    """The Model of a look; ports: (L,) that somebody listens on. before: an earlier look at the same namespace."""
    fin_timeout = now.numbers("tcp_fin_timeout")
    found = ages(now.rows, *map(float, fin_timeout[:1]))
    kinds = signatures(now.rows)
    ports = np.union1d(ports, ports_given_up(now))
    incoming = np.isin(now.rows["local_port"], ports)
    seconds = None if before is None else now.looked_at_s - before.looked_at_s
    groups = _groups(now, found, kinds, incoming)
    if before is not None:
        all_before = _identities(before, np.arange(len(before.rows)))
        compared = [
            _compared(group, now, before, ports, seconds or 0.0, all_before) for group in groups[:_MOST_COMPARED]
        ]
        groups = [*compared, *groups[_MOST_COMPARED:]]
    counts = np.bincount(now.rows["state"], minlength=STATES)[:STATES]
    by_state = tuple(counts.tolist())
    return ClosingModel(now, found, kinds, tuple(groups), destinations_of(now, incoming), by_state, seconds)


def _groups(now: OpenSockets, found: StateAges, kinds: NDArray[Any], incoming: NDArray[Any]) -> list[SocketGroup]:
    """The N sockets of a reading in groups by process, peer, state and kind. kinds (N,): `Signature` of each; incoming
    (N,): which came to a listener.
    """
    rows = now.rows
    if not len(rows):
        return []
    pids = now.pids if now.pids is not None else np.zeros(len(rows), dtype=np.uint32)
    # For an incoming connection, the listener's port stands for all clients.
    peers = np.where(incoming, 0, peer_ids(now)).astype(np.uint64)
    port = np.where(incoming, rows["local_port"], rows["remote_port"]).astype(np.uint64)
    peer, _ = numbered(peers << np.uint64(17) | port << np.uint64(1) | incoming)
    low = peer.astype(np.uint64) << np.uint64(8) | rows["state"].astype(np.uint64) << np.uint64(4) | kinds
    group, first = numbered(pids.astype(np.uint64) << np.uint64(32) | low & np.uint64(0xFFFFFFFF))
    pid, state = pids[first].astype(np.uint64), rows["state"][first].astype(np.uint64)
    # Connections for which no process was found, but which a program may still hold, may belong to several programs.
    may = ~incoming[first] & ((pid != 0) | ~np.isin(state, _HELD))
    group, how_many = _with_few_each(group, pid << np.uint64(8) | state << np.uint64(4) | kinds[first], may)
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    largest = np.argsort(-sizes, kind="stable")[: min(_MOST_GROUPS, np.count_nonzero(sizes))]
    return [
        _group(now, found, kinds, incoming, order[starts[i] : starts[i] + sizes[i]], int(how_many[i]))
        for i in largest.tolist()
    ]


def _with_few_each(
    group: NDArray[Any], kinds: NDArray[Any], may: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The groups of N connections, (N,), with those of one process, state and signature made one where it has few
    connections to each of many peers; and how many peers each has, (K,).

    Of the K groups before: kinds, (K,), equal where process, state and signature are; may: which may be made one, (K,).
    """
    sizes = np.bincount(group, minlength=len(kinds))
    peers = np.ones(len(kinds), dtype=np.intp)
    small = np.flatnonzero(may & (sizes < _FEW_EACH))
    if len(small) <= _MANY_PEERS:
        return group, peers
    _, first, of, counts = np.unique(kinds[small], return_index=True, return_inverse=True, return_counts=True)
    many = counts > _MANY_PEERS
    # The first of them stands for all, and the others become empty.
    goes_to = np.arange(len(kinds))
    goes_to[small[many[of]]] = small[first][of[many[of]]]
    peers[small[first[many]]] = counts[many]
    return goes_to[group], peers


def _group(
    now: OpenSockets,
    found: StateAges,
    kinds: NDArray[Any],
    incoming: NDArray[Any],
    members: NDArray[np.intp],
    peers: int,
) -> SocketGroup:
    """The group of some of the N sockets. kinds, incoming: (N,). members: the places of its n sockets, (n,). peers:
    how many different peers they have.
    """
    at = int(members[0])
    # A column at a time: whole rows are gathered four times as slowly.
    rows = {name: now.rows[name][members] for name in _OF_A_GROUP}
    pid = 0 if now.pids is None else int(now.pids[at])
    least = found.at_least_s[members]
    comes = bool(incoming[at])
    port = int(now.rows["local_port"][at])
    peer = endpoint_text(remote_text(now, at), int(now.rows["remote_port"][at]))
    if comes or peers > 1:
        peer = f"{CLIENTS_OF}:{port}" if comes else f"{peers:,} peers"
    return SocketGroup(
        process=now.processes.get(pid),
        pid=pid,
        state=int(now.rows["state"][at]),
        signature=Signature(int(kinds[at])),
        peer=peer,
        peers=peers,
        incoming=comes,
        local_port=port if comes else 0,
        count=len(members),
        new=int(np.count_nonzero(least < LATELY_S)),
        oldest_s=float(np.max(least)),
        youngest_s=float(np.min(least)),
        exact=bool((least == found.at_most_s[members]).all()),
        even=_even(least),
        pages=int(rows["pages"].sum(dtype=np.int64)),
        unread=int(rows["unread"].sum(dtype=np.int64)),
        unacked=int(rows["unacked"].sum(dtype=np.int64)),
        alike=_alike(rows["bytes_received"]),
        keepalive=int(np.count_nonzero(rows["flags"] & KEEPALIVE)),
        retransmits=int(np.max(np.where(rows["timer"] == PROBE, rows["probes"], rows["retransmits"]))),
        members=members,
        trickles=int(np.count_nonzero(may_trickle(rows))) if now.rows["state"][at] == CLOSE_WAIT else 0,
        with_unread=int(np.count_nonzero(rows["unread"])),
        unanswered=int(np.count_nonzero(unanswered(rows))) if now.rows["state"][at] == CLOSE_WAIT else 0,
        awaiting=int(np.count_nonzero(awaiting(rows))) if now.rows["state"][at] == ESTABLISHED else 0,
    )


def _alike(received: NDArray[np.uint32]) -> float:
    """The share that is about as large as the usual one: numbers and dates in an answer vary in length."""
    usual = float(np.median(received))
    room = _SOME_BYTES + _SAME_SIZE * usual
    return int(np.count_nonzero(np.abs(received.astype(np.float64) - usual) <= room)) / len(received)


def _even(ages_s: NDArray[np.float32]) -> bool:
    """Whether ages are spread evenly over their span, and not in clumps."""
    if len(ages_s) < _SOME or float(np.ptp(ages_s)) < 1.0:
        return False
    youngest, span = np.min(ages_s), np.ptp(ages_s)
    quarter = np.minimum((ages_s - youngest) * (_QUARTERS / span), _QUARTERS - 1).astype(np.uint8)
    return bool(np.min(np.bincount(quarter, minlength=_QUARTERS)) >= _EVEN * len(ages_s) / _QUARTERS)


def _identities(sockets: OpenSockets, members: NDArray[Any]) -> NDArray[np.uint64]:
    """A number that a held socket keeps: inode and both ports."""
    inode, local, remote = (
        sockets.rows[name][members].astype(np.uint64) for name in ("inode", "local_port", "remote_port")
    )
    found: NDArray[np.uint64] = inode << np.uint64(32) | local << np.uint64(16) | remote
    return found


def _compared(
    group: SocketGroup,
    now: OpenSockets,
    before: OpenSockets,
    ports: NDArray[Any],
    seconds: float,
    all_before: NDArray[np.uint64],
) -> SocketGroup:
    """The group with what came and went since the look before, of the same process, state and peer."""
    rows = before.rows
    mine = rows["state"] == group.state
    if before.pids is not None:
        mine &= before.pids == group.pid
    at = int(group.members[0])
    if group.incoming:
        mine &= rows["local_port"] == group.local_port
    else:
        mine &= ~np.isin(rows["local_port"], ports)
        if group.peers == 1:
            mine &= (rows["remote_port"] == now.rows["remote_port"][at]) & _same_remote(now, at, before)
    old, new = _identities(before, np.flatnonzero(mine)), _identities(now, group.members)
    # Sockets of other signatures, towards the same peer, did not go.
    all_now = _identities(now, np.flatnonzero(now.rows["state"] == group.state))
    quiet_s = np.minimum(now.rows["received_ms"], now.rows["sent_ms"])[group.members] / 1000
    moved, there = quiet_s < seconds, np.isin(new, all_before)
    return replace(
        group,
        came=int(np.count_nonzero(~np.isin(new, old))),
        left=int(np.count_nonzero(~np.isin(old, all_now))),
        moved=int(np.count_nonzero(moved)),
        went_on=int(np.count_nonzero(moved & np.isin(new, old))),
        opened=int(np.count_nonzero(~there)),
        # A request that was under way at the first look is over by then.
        reused=int(np.count_nonzero((quiet_s < seconds / 2) & there)),
    )


def _same_remote(now: OpenSockets, at: int, before: OpenSockets) -> NDArray[np.bool_]:
    """Which of the M sockets of an earlier reading have the remote address of the one at `at` in this reading, (M,)."""
    row = now.rows[at]
    is_wide = before.rows["flags"] & WIDE != 0
    if not row["flags"] & WIDE:
        same: NDArray[np.bool_] = ~is_wide & (before.rows["remote"] == row["remote"])
        return same
    wanted = now.wide["remote"][row["remote"]]
    found = np.zeros(len(before.rows), dtype=bool)
    found[is_wide] = (before.wide["remote"] == wanted)[before.rows["remote"][is_wide]]
    return found
