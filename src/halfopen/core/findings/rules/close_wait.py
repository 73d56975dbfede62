"""Rules about CLOSE_WAIT: the peer closed, and the program did not. Told apart by what is unread and by the ages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from halfopen.core.findings.closing_groups import (
    FEW_SOCKETS,
    LARGER_THAN_A_POOL,
    NEEDS,
    by_growth,
    change_sockets,
    fill_its_files,
    groups_of,
    look_twice,
    more_files,
    show_sockets,
    who,
)
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.served import ENDED, UNREAD, read_ends
from halfopen.core.model.closing import CLUMP_S, SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.policy.actions import Look
from halfopen.core.policy.connection_actions import SHUT_DOWN
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED

# A share of the memory of all TCP, held by ends that nobody read.
_MUCH_MEMORY: Final = 0.1


def _groups(e: Evidence, *kinds: Signature) -> list[SocketGroup]:
    return [group for group in groups_of(e, *kinds) if group.state == CLOSE_WAIT]


def is_leak(e: Evidence, group: SocketGroup) -> bool | None:
    """Whether connections that a program opened are never let go; None where it cannot be told.

    Two looks tell: some came, none left, and the program opens about as many; while it uses others to the same peer
    again, only where there are more than any pool has: a pool in use has dead ones among its idle ones for a while, and
    all of them are dead where the program got no processor for as long as the server waits. Fewer than FEW_SOCKETS may
    be of a small pool that is used now and then: that cannot be told. In one look a leak has even ages, goes on, and is
    larger than any pool. How much is unread makes no difference: a FIN that comes with the last data is read with them.
    Those of a process that was not found may be of many, each with a pool of its own.
    """
    leaks = _leaks(e, group)
    return None if leaks and not group.pid else leaks


def _leaks(e: Evidence, group: SocketGroup) -> bool | None:
    alike = [one for one in _groups(e, *ENDED) if one.owner_and_peer == group.owner_and_peer]
    # A program may well have that many small pools, whose servers hang up at one time or another.
    many = group.peers == 1 and sum(one.count for one in alike) >= LARGER_THAN_A_POOL
    if fill_its_files(e, alike) and not any(one.left for one in alike):
        return True
    if group.came is not None:
        return _leaks_since(e, group, alike, many=many)
    oldest, youngest = max(one.oldest_s for one in alike), min(one.youngest_s for one in alike)
    if oldest - youngest <= CLUMP_S or not any(one.new for one in alike):
        return False
    return True if many and all(one.even for one in alike if one.count >= FEW_SOCKETS) else None


def _leaks_since(e: Evidence, group: SocketGroup, alike: list[SocketGroup], *, many: bool) -> bool | None:
    """`is_leak` after two looks. alike: those of the same owner and peer; many: they are more than any pool has."""
    came, left = sum(one.came or 0 for one in alike), max(one.left or 0 for one in alike)
    if not came or left:
        return False
    opened, reuses = _towards(e, group)
    if many:
        return True
    if reuses or opened < came / 2:
        return False
    return True if sum(one.count for one in alike) >= FEW_SOCKETS else None


def _towards(e: Evidence, group: SocketGroup) -> tuple[int, bool]:
    """How many connections to the peer the program opened between two looks, and whether it used any of before."""
    mine = [] if e.closing is None else e.closing.groups
    mine = [one for one in mine if one.owner_and_peer == group.owner_and_peer]
    return sum(one.opened or 0 for one in mine), any(one.reused for one in mine if one.state == ESTABLISHED)


def _ended_by(e: Evidence, *, incoming: bool) -> list[SocketGroup]:
    return [group for group in _groups(e, *ENDED) if group.incoming is incoming]


def _leaking(e: Evidence) -> Iterator[SocketGroup]:
    """Groups that leak: opened by a program and never let go; or accepted, and kept after the end was read."""
    kept = read_ends(e, answered=True)
    for group in _groups(e, *ENDED):
        if group in kept if group.incoming else is_leak(e, group):
            yield group


@rule(
    "close-wait-leak",
    *(Level.NOTICE, Level.WARNING, Level.CRITICAL),
    title="a program never closes connections that its peer closed",
    doc="in CLOSE_WAIT, opened by a program: more come, none is closed, and either there are 10 or "
    "more and the program opens about as many as come without using any again, or there are 50 "
    "or more (after one look: 50 or more whose ages are spread evenly); or they are half or more "
    "of the descriptors of a process that has used them up; or accepted by a program that read the end "
    "(nothing is unread) more than 10 s ago, answered what was asked, and leaves few others unread (a "
    "notice where the answer left a while after the request, and may still go on)",
    unless="all are of one age and none comes, as in an idle pool; or some are closed again; or data is still sent to "
    "a client that closed only its half",
    advice="close the response or give the connection back in every path of the program, errors included; restart "
    "frees the descriptors",
    needs=NEEDS,
    rare=True,
)
def close_wait_leak(e: Evidence) -> Iterator[Hit]:
    for group in _leaking(e):
        facts = who(e, group)
        if group.signature is Signature.END_READ:
            facts = (*facts, Fact("end_read", 1))
        alike = [one for one in _groups(e, *ENDED) if one.owner_and_peer == group.owner_and_peer]
        level, cures = by_growth(e, group), show_sockets(e, group)
        if fill_its_files(e, alike):
            # An end of the connection frees no descriptor; more of them give time until a restart.
            level, cures = Level.CRITICAL, (*more_files(e, group, "close-wait-leak"), *cures)
        elif group.incoming and 2 * group.trickles >= group.count:
            # To a client that closed only its half data may go now and then.
            facts, cures = (*facts, Fact("may_send", 1)), (*look_twice(e, "close-wait-leak"), *cures)
            level = level if group.came or level is Level.CRITICAL else Level.NOTICE
        else:
            cures += change_sockets(e, group, SHUT_DOWN, "close-wait-leak")
        yield Hit(level, facts, rules_out=("close-wait-idle-pool",), cures=cures)


@rule(
    "close-wait-idle-pool",
    Level.OK,
    title="an idle pool whose server hung up",
    doc="in CLOSE_WAIT, opened by a program: none comes, or there are fewer than 50 beside others "
    "that are used again (after one look: all are of one age, or none is younger than 10 s): the "
    "pool notices at the next use",
    unless="more come and none is closed, as in a leak",
    advice="nothing; a shorter idle time in the pool than in the server avoids a failed first request",
    needs=NEEDS,
    note=True,
    rare=True,
)
def close_wait_idle_pool(e: Evidence) -> Iterator[Hit]:
    for group in _ended_by(e, incoming=False):
        if is_leak(e, group) is False:
            yield Hit(Level.OK, who(e, group), rules_out=("close-wait-leak",))


@rule(
    "close-wait-undecided",
    Level.NOTICE,
    title="a pool or a leak in CLOSE_WAIT: a longer look is needed to tell",
    doc="in CLOSE_WAIT, opened by a program, some younger than 10 s, but not more than a pool may have, "
    "or not evenly spread; after two looks: some came, none left, none is used again, and there are fewer than 10; or "
    "it would be a leak, were it of one process, and no process was found",
    unless="two looks were taken, and none came, some left, or there are 10 or more of a process that was found",
    advice="look twice: `halfopen closing --for 10s`, or longer if few came",
    needs=NEEDS,
    note=True,
    rare=True,
)
def close_wait_undecided(e: Evidence) -> Iterator[Hit]:
    for group in _ended_by(e, incoming=False):
        if is_leak(e, group) is not None:
            continue
        facts, cures = who(e, group), look_twice(e, "close-wait-undecided")
        if _leaks(e, group):
            facts += (Fact("unknown_processes", 1),)
            hidden = e.closing is not None and not e.closing.sockets.owners_whole
            cures = ((Look(e.netns, "closing", "close-wait-undecided", as_root=True),),) if hidden else cures
        yield Hit(Level.NOTICE, facts, cures=cures)


@rule(
    "close-wait-memory",
    *(Level.WARNING, Level.CRITICAL),
    title="unread FINs hold much of TCP's memory",
    doc="connections in CLOSE_WAIT whose end was not read hold a tenth of what `tcp_mem` allows before pressure; each "
    "holds a page",
    unless="these connections hold less",
    advice="make the program read to the end, or close",
    needs=NEEDS,
    rare=True,
)
def close_wait_memory(e: Evidence) -> Iterator[Hit]:
    groups = _groups(e, *UNREAD)
    limits = () if e.closing is None else e.closing.sockets.numbers("tcp_mem")
    pages = sum(group.pages for group in groups)
    if len(limits) == 3 and pages >= _MUCH_MEMORY * limits[1]:
        level = Level.CRITICAL if pages >= limits[1] / 2 else Level.WARNING
        yield Hit(level, (Fact("sockets", sum(g.count for g in groups)), Fact("pages", pages, limits[1])))
