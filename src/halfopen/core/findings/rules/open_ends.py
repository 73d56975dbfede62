"""Rules about connections that are open, or that one end closed: silent and slow peers, idle ones, FIN_WAIT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.closing_groups import (
    FEW_SOCKETS,
    LARGER_THAN_A_POOL,
    NEEDS,
    by_number,
    change_sockets,
    end_group,
    fill_its_files,
    groups_of,
    most_of_its_files,
    show_sockets,
    who,
    with_values,
)
from halfopen.core.findings.cures import LookAtProcess
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.served import is_stopped
from halfopen.core.model.closing import SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.policy.actions import Look
from halfopen.core.policy.connection_actions import PROBE_PEERS
from halfopen.core.sample.closing import CLOSING, ESTABLISHED, FIN_WAIT1, LAST_ACK

# One request each: as many bytes came on nearly all of them.
_ALIKE: Final = 0.9
_POOL: Final = 10
_POOL_IDLE_S: Final = 60.0
_UNPROVEN_S: Final = 600.0
_HELD_S: Final = 60.0
_RETRIED: Final = 2
# Closed here, with something left to send.
_LAST: Final = (FIN_WAIT1, LAST_ACK, CLOSING)
_MANY_ORPHANS: Final = 0.5
_MANY_ORPHANED: Final = 100


def _also_active(e: Evidence, group: SocketGroup) -> bool:
    """Whether the same process uses other connections to the same peer."""
    return any(
        other.owner_and_peer == group.owner_and_peer for other in groups_of(e, Signature.ACTIVE) if not other.incoming
    )


@rule(
    "idle-leak",
    *(Level.WARNING, Level.CRITICAL),
    title="a program opens connections, uses each once, and keeps them",
    doc="ESTABLISHED, opened by a program, idle; nine of ten received the same number of bytes; more "
    "come, none is used again and none is closed (after one look: ages are spread evenly, and "
    "there are more than any pool has)",
    unless="some are used again or closed, or none comes; or half as many clients or more are connected to the "
    "process, which may pass their connections on; or an answer is awaited on most",
    advice="close the response or give the connection back in every path of the program, errors included; a program "
    "that subscribes to messages, a connection for each, looks the same until these come",
    needs=NEEDS,
    rare=True,
)
def idle_leak(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.IDLE):
        if is_idle_leak(e, group):
            level = Level.CRITICAL if most_of_its_files(e, group) else Level.WARNING
            opened = (group.came or 0) + sum(one.came or 0 for one in _young(e, group))
            facts = with_values(who(e, group), {"came": opened})
            yield Hit(level, facts, rules_out=("pool-all-idle",), cures=show_sockets(e, group))


def is_idle_leak(e: Evidence, group: SocketGroup) -> bool:
    """Whether the idle connections of a group are what a leak leaves behind.

    Those of a process that was not found may be of many, and those of a process that as many clients are connected to
    may be passed on for these, as a proxy does. Those on which an answer is awaited are in use.
    """
    if group.incoming or not group.pid or group.alike < _ALIKE or group.count < FEW_SOCKETS:
        return False
    if clients_of(e, group) >= group.count / 2 or _awaits(group):
        return False
    young = _young(e, group)
    if group.came is not None:
        opened = sum(one.came or 0 for one in young) + group.came
        grows = opened > 0 or fill_its_files(e, [group])
        return grows and not group.left and not group.moved and all(not one.left for one in young)
    return group.even and group.count >= LARGER_THAN_A_POOL and any(one.alike >= _ALIKE for one in young)


def _young(e: Evidence, group: SocketGroup) -> list[SocketGroup]:
    """What the process opened to the same peer lately counts as in use."""
    return [one for one in groups_of(e, Signature.ACTIVE) if one.owner_and_peer == group.owner_and_peer]


def clients_of(e: Evidence, group: SocketGroup) -> int:
    """How many clients are connected to the process of a group."""
    mine = [] if e.closing is None or not group.pid else e.closing.groups
    return sum(one.count for one in mine if one.pid == group.pid and one.incoming and one.state == ESTABLISHED)


@rule(
    "pool-all-idle",
    Level.OK,
    title="all connections of a pool are idle",
    doc="ESTABLISHED, ten or more that a program opened to one peer, and none of them was used for a minute: the pool "
    "is larger than needed, or callers wait while its connections are never returned; or the program is a proxy, and "
    "each belongs to a client",
    unless="one of them was used within a minute, or an answer is awaited on most",
    advice="compare with the pool's own count of borrowed connections; [docs/closing.md](closing.md) "
    "lists the settings by kind of peer",
    needs=NEEDS,
    note=True,
    rare=True,
)
def pool_all_idle(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.IDLE):
        if (
            group.incoming
            or group.peers > 1
            or group.count < _POOL
            or group.youngest_s < _POOL_IDLE_S
            or is_idle_leak(e, group)
            or _awaits(group)
        ):
            continue
        if not _also_active(e, group):
            clients = clients_of(e, group)
            facts = (*who(e, group), *((Fact("clients", clients),) if clients >= group.count / 2 else ()))
            yield Hit(Level.OK, facts, cures=show_sockets(e, group))


def _awaits(group: SocketGroup) -> bool:
    """Whether an answer is awaited on most connections of a group."""
    return group.awaiting >= group.count / 2


def _awaited(e: Evidence) -> Iterator[tuple[SocketGroup, tuple[Fact, ...], bool]]:
    """Groups on which answers are awaited, with their facts; and whether they grow between two looks."""
    for group in groups_of(e, Signature.IDLE):
        if not group.incoming and group.peers == 1 and group.awaiting >= FEW_SOCKETS and _awaits(group):
            opened = (group.came or 0) + sum(one.came or 0 for one in _young(e, group))
            facts = with_values(who(e, group), {"sockets": group.awaiting, "came": opened})
            yield group, facts, bool(opened and not group.left)


@rule(
    "answers-pile-up",
    Level.NOTICE,
    title="a server does not answer, and more and more is sent to it",
    doc="as `answers-awaited`, and between two looks more connections are opened and none is closed",
    unless="none is opened, or some are closed, or answers came",
    advice="the program at the other end is slow or stuck; a timeout for reading frees the threads that wait",
    needs=NEEDS,
    rare=True,
)
def answers_pile_up(e: Evidence) -> Iterator[Hit]:
    for group, facts, grows in _awaited(e):
        if grows:
            yield Hit(Level.NOTICE, facts, rules_out=("idle-leak", "pool-all-idle"), cures=show_sockets(e, group))


@rule(
    "answers-awaited",
    Level.OK,
    title="nothing came back since a program here sent something",
    doc="ESTABLISHED, opened by a program to one peer: on ten connections or more, and half of those that are idle, "
    "something was sent and nothing came since, for 10 s or more",
    unless="answers came, or the connections are younger or fewer",
    advice="nothing where no answer is due (logs), or it is to be late (long polls); else look twice: "
    "`halfopen closing --for 10s`",
    needs=NEEDS,
    note=True,
    rare=True,
)
def answers_awaited(e: Evidence) -> Iterator[Hit]:
    for group, facts, grows in _awaited(e):
        if not grows:
            yield Hit(Level.OK, facts, rules_out=("idle-leak", "pool-all-idle"), cures=show_sockets(e, group))


@rule(
    "idle-unproven",
    Level.OK,
    title="nobody can tell whether idle connections still have a peer",
    doc="ESTABLISHED, idle for more than 10 min without keepalive: a peer that vanished looks the "
    "same as one that has nothing to send",
    unless="keepalive is on, or data came",
    advice="`halfopen closing probe` asks the peer; `halfopen closing keepalive` keeps asking",
    needs=NEEDS,
    note=True,
    rare=True,
)
def idle_unproven(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.IDLE):
        if group.oldest_s >= _UNPROVEN_S and group.keepalive < group.count:
            facts = (*who(e, group), Fact("without_keepalive", group.count - group.keepalive, group.count))
            yield Hit(Level.OK, facts, cures=change_sockets(e, group, PROBE_PEERS, "idle-unproven"))


@rule(
    "peer-silent",
    *(Level.NOTICE, Level.WARNING),
    title="the peer does not answer",
    doc="ESTABLISHED, or CLOSE_WAIT where the peer closed only its half: data was retransmitted four times or more, or "
    "as many probes of a closed window are unanswered",
    unless="nothing is retransmitted",
    advice="the path or the peer is gone; the kernel gives up after `tcp_retries2`, or earlier with TCP_USER_TIMEOUT",
    needs=NEEDS,
    rare=True,
)
def peer_silent(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.PEER_SILENT):
        facts = (*who(e, group), Fact("retransmits", group.retransmits))
        yield Hit(by_number(group), facts, rules_out=("slow-peer",), cures=show_sockets(e, group))


@rule(
    "slow-reader",
    *(Level.NOTICE, Level.WARNING),
    title="a program here does not read received data",
    doc="ESTABLISHED, 16 KiB or more are unread, and nothing came for 5 s; a notice where the peers to which the "
    "program may pass it on do not read",
    unless="less is unread, or data still comes, or the process is stopped",
    advice="see where the threads of the process wait",
    needs=NEEDS,
    rare=True,
)
def slow_reader(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.UNREAD):
        if is_stopped(e, group):
            continue
        facts, level, cures = who(e, group), by_number(group), show_sockets(e, group)
        if held_up := _held_up_by(e, group):
            level = Level.NOTICE
            facts += (Fact("held_up", sum(one.count for one in held_up)), Fact("held_up_by", held_up[0].peer))
            cures = (*show_sockets(e, held_up[0]), *cures)
        elif group.pid:
            cures = ((LookAtProcess(group.pid, "slow-reader"),), *cures)
        yield Hit(level, facts, rules_out=() if held_up else ("slow-peer",), cures=cures)


def _held_up_by(e: Evidence, group: SocketGroup) -> list[SocketGroup]:
    """The connections on which the process itself waits for a peer to read, as a proxy does that passes on what it
    reads, those with the most first; none where they are fewer than half of the group.
    """
    mine = [one for one in groups_of(e, Signature.PEER_NOT_READING) if group.pid and one.pid == group.pid]
    if 2 * sum(one.count for one in mine) < group.count:
        return []
    return sorted(mine, key=lambda one: -one.count)


@rule(
    "slow-peer",
    *(Level.NOTICE, Level.WARNING),
    title="the peer does not read the data sent to it",
    doc="ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, LAST_ACK or CLOSING: data, and perhaps the FIN behind it, waits behind a "
    "window that the peer closed, and the peer answers the probes",
    unless="the probes are not answered: the peer is gone",
    advice="the program at the other end is slow or stuck; a timeout for sending in the program here frees the thread; "
    "what no process holds is ended by `halfopen closing destroy`, or by the kernel after some minutes",
    needs=NEEDS,
    rare=True,
)
def slow_peer(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.PEER_NOT_READING):
        cures, facts = show_sockets(e, group), who(e, group)
        if group.state in _LAST and not _held(e, group):
            cures += end_group(e, group, "slow-peer")
            facts += (Fact("orphans", group.count),)
        yield Hit(by_number(group), facts, rules_out=("peer-silent", "slow-reader"), cures=cures)


def _held(e: Evidence, group: SocketGroup) -> bool:
    """Whether a process holds some of a group, be it one that was not found."""
    return e.closing is None or bool(e.closing.sockets.rows["inode"][group.members].any())


@rule(
    "fin-wait-held",
    *(Level.NOTICE, Level.WARNING),
    title="a program waits forever for its peer to close",
    doc="in FIN_WAIT2 for more than a minute, held by a program: it sent its FIN by shutdown() and keeps the "
    "descriptor, so `tcp_fin_timeout` does not apply",
    unless="no process holds it, or it is younger",
    advice="a timeout for the read that follows shutdown() in the program; the peer is in CLOSE_WAIT",
    needs=NEEDS,
    rare=True,
)
def fin_wait2_held(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.HELD):
        if group.oldest_s >= _HELD_S:
            yield Hit(by_number(group), who(e, group), rules_out=("fin-wait-orphan",), cures=show_sockets(e, group))


@rule(
    "fin-wait-orphan",
    Level.OK,
    title="connections in FIN_WAIT2 that nobody holds",
    doc="in FIN_WAIT2, 100 or more without a process: the peer has not closed, and the kernel ends them after "
    "`tcp_fin_timeout`",
    unless="a process holds them",
    advice="nothing: they end on their own",
    needs=NEEDS,
    note=True,
    rare=True,
)
def fin_wait2_orphan(e: Evidence) -> Iterator[Hit]:
    groups = groups_of(e, Signature.ORPHANED)
    count = sum(group.count for group in groups)
    if count >= _MANY_ORPHANED:
        limit = () if e.closing is None else e.closing.sockets.numbers("tcp_fin_timeout")
        facts = [Fact("sockets", count), Fact("oldest_s", max(g.oldest_s for g in groups), unit="s")]
        yield Hit(Level.OK, (*facts, *(Fact("tcp_fin_timeout", n, unit="s") for n in limit[:1])))


@rule(
    "orphans-retrying",
    *(Level.NOTICE, Level.WARNING),
    title="closed connections wait for a peer that does not answer",
    doc="in FIN_WAIT1, LAST_ACK or CLOSING, the FIN or data retransmitted twice or more; a warning from half of "
    "`tcp_max_orphans` on",
    unless="the peer acknowledges",
    advice="they end after `tcp_orphan_retries`; their number shows how many peers vanished",
    needs=NEEDS,
    rare=True,
)
def orphans_retrying(e: Evidence) -> Iterator[Hit]:
    groups = [group for group in groups_of(e, Signature.RETRYING) if group.retransmits >= _RETRIED]
    count = sum(group.count for group in groups)
    if not count or e.closing is None:
        return
    limit = e.closing.sockets.numbers("tcp_max_orphans")
    bad = bool(limit) and count >= _MANY_ORPHANS * limit[0]
    facts = (
        Fact("sockets", count, limit[0] if limit else None),
        Fact("oldest_s", max(group.oldest_s for group in groups), unit="s"),
        Fact("retransmits", max(group.retransmits for group in groups)),
    )
    cures = ((Look(e.netns, "closing list --kind retrying", "orphans-retrying"),),)
    yield Hit(Level.WARNING if bad else Level.NOTICE, facts, cures=cures)
