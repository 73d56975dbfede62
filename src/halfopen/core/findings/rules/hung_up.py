"""Rules about servers whose clients closed their end: stopped, stuck, at work, or too slow to accept them."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.core.findings.closing_groups import (
    FEW_SOCKETS,
    NEEDS,
    by_growth,
    by_number,
    groups_of,
    look_twice,
    most_of_its_files,
    show_sockets,
    who,
    with_values,
)
from halfopen.core.findings.cures import ContinueProcess, Cure, LookAtProcess, LookAtTracer, ThawProcess
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.finding import Fact, Hit, Level
from halfopen.core.findings.registry import rule
from halfopen.core.findings.served import (
    AT_WORK_S,
    ENDED,
    asked_others,
    has_unread_requests,
    is_handed,
    is_nobodys,
    is_stopped,
    read_ends,
    unread_ends,
)
from halfopen.core.model.closing import SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED


@rule(
    "holder-stopped",
    *(Level.NOTICE, Level.WARNING),
    title="a program that does not run leaves its peers waiting",
    doc="clients hung up more than 10 s ago, or data is unread, and the process that holds these connections is "
    "stopped (SIGSTOP, a debugger, the freezer of its cgroup)",
    unless="the process runs",
    advice="let it go on, if that is not intended",
    needs=NEEDS,
    rare=True,
)
def holder_stopped(e: Evidence) -> Iterator[Hit]:
    left: dict[int, list[SocketGroup]] = {}
    for group in groups_of(e, *ENDED, Signature.UNREAD, Signature.IDLE):
        if is_stopped(e, group) and _waits_for_it(group):
            left.setdefault(group.pid, []).append(group)
    for pid, groups in left.items():
        count = sum(one.with_unread if one.signature is Signature.IDLE else one.count for one in groups)
        why = "" if e.closing is None else e.closing.sockets.stopped[pid]
        told = Fact("state", why) if len(why) == 1 else Fact("frozen", why)
        level = Level.WARNING if count >= FEW_SOCKETS else Level.NOTICE
        # By their number `watch` tells whether they are many.
        facts = (*with_values(who(e, groups[0]), {"sockets": count}), told)
        yield Hit(level, facts, cures=(_go_on(groups[0], why), *show_sockets(e, groups[0])))


def _waits_for_it(group: SocketGroup) -> bool:
    if group.state == CLOSE_WAIT:
        return group.incoming and group.oldest_s >= AT_WORK_S
    return group.signature is Signature.UNREAD or has_unread_requests(group)


def _go_on(group: SocketGroup, why: str) -> Cure:
    if why == "T":
        return (ContinueProcess(group.pid, "holder-stopped"),)
    if why == "t":
        return (LookAtTracer(group.pid, 0, "holder-stopped"),)
    inside = group.process and (group.process.container_name or group.process.container)
    return (ThawProcess(group.pid, "" if why == "frozen" else why, "holder-stopped", inside or ""),)


@rule(
    "close-wait-stuck",
    *(Level.NOTICE, Level.WARNING, Level.CRITICAL),
    title="a server ignores clients that hung up",
    doc="in CLOSE_WAIT, accepted by a program, with an end that was not read for more than 10 s: its "
    "event loop or the threads that serve these clients are stuck, or busy for longer than "
    "clients wait; the reason tells where the program itself waits for answers of others, or did not accept these "
    "connections itself",
    unless="the program read the end, or no accepted connection is in CLOSE_WAIT for long",
    advice="see where the threads of the process wait; run `halfopen diagnose` if it does not accept either",
    needs=NEEDS,
    rare=True,
)
def close_wait_stuck(e: Evidence) -> Iterator[Hit]:
    servers: dict[tuple[int, str], list[SocketGroup]] = {}
    for group in unread_ends(e):
        servers.setdefault(group.owner_and_peer, []).append(group)
    # A server's connections are two groups: with unread data before the end, and without.
    for groups in servers.values():
        first, count = groups[0], sum(group.count for group in groups)
        facts, cures = _why(e, first, "close-wait-stuck")
        level = max(by_growth(e, group) for group in groups)
        level = max(level, Level.WARNING) if count >= FEW_SOCKETS else level
        yield Hit(level, (*_together(e, groups), *facts), cures=cures)


def _together(e: Evidence, groups: list[SocketGroup]) -> tuple[Fact, ...]:
    """The facts of the first of these groups, with the totals of all of them."""
    summed = {
        "sockets": sum(group.count for group in groups),
        "younger_than_10s": sum(group.new for group in groups),
        "came": sum(group.came or 0 for group in groups),
        # Of each group it is how many of the process and the peer left, whatever their kind.
        "left": max(group.left or 0 for group in groups),
        "growth_per_s": sum(group.per_s for group in groups),
        "oldest_s": max(group.oldest_s for group in groups),
        "youngest_s": min(group.youngest_s for group in groups),
        "ages_exact": min(int(group.exact) for group in groups),
    }
    return with_values(who(e, groups[0]), summed)


@rule(
    "close-wait-unanswered",
    *(Level.NOTICE, Level.WARNING, Level.CRITICAL),
    title="a server has not answered clients that closed their end",
    doc="in CLOSE_WAIT, accepted by a program that read the end more than 10 s ago and has sent nothing since the last "
    "data came: it still works on the request, or forgot the connection; a client that closed only its half "
    "(shutdown()) waits for the answer. A warning if, between two looks, more come and none is closed",
    unless="what was asked was answered, or nothing was asked: then the connection leaks",
    advice="see what the program waits for; do not end these connections before",
    needs=NEEDS,
    rare=True,
)
def close_wait_unanswered(e: Evidence) -> Iterator[Hit]:
    for group in read_ends(e, answered=False):
        facts, cures = _why(e, group, "close-wait-unanswered")
        bad = group.came is not None and group.grows and group.count >= FEW_SOCKETS
        level = Level.CRITICAL if most_of_its_files(e, group) else Level.WARNING if bad else Level.NOTICE
        yield Hit(level, (*who(e, group), *facts), cures=cures)


def _why(e: Evidence, group: SocketGroup, id: str) -> tuple[tuple[Fact, ...], tuple[Cure, ...]]:
    """What there is to know of why a server leaves these clients alone, and where to look."""
    others, shown = asked_others(e, group), show_sockets(e, group)
    facts: tuple[Fact, ...] = ()
    if others:
        facts = (Fact("awaiting", sum(one.awaiting for one in others)), Fact("awaited", others[0].peer))
        return facts, (*show_sockets(e, others[0]), *shown)
    if is_nobodys(e, group):
        return (Fact("holders", 0),), shown
    facts = (Fact("listens", 0),) if is_handed(e, group) else ()
    return facts, ((LookAtProcess(group.pid, id),), *shown) if group.pid else shown


@rule(
    "requests-unread",
    *(Level.NOTICE, Level.WARNING),
    title="a server does not read what its clients sent",
    doc="ESTABLISHED, accepted by a program, less than 16 KiB unread, and nothing came or went for 10 s; a warning "
    "from ten such connections on; the reason tells where the program itself waits for answers of others, or did not "
    "accept these connections itself",
    unless="all is read, or data came or went in the last 10 s, or the process is stopped",
    advice="see where the threads of the process wait; run `halfopen diagnose` if it does not accept either",
    needs=NEEDS,
    rare=True,
)
def requests_unread(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.IDLE):
        if has_unread_requests(group) and not is_stopped(e, group):
            facts, cures = _why(e, group, "requests-unread")
            level = Level.WARNING if group.with_unread >= FEW_SOCKETS else Level.NOTICE
            yield Hit(level, (*with_values(who(e, group), {"sockets": group.with_unread}), *facts), cures=cures)


@rule(
    "not-accepted",
    Level.NOTICE,
    title="connections wait for accept()",
    doc="ESTABLISHED, and no process holds the connection yet: it has been in the accept queue for 10 s or more",
    unless="the program accepted each connection, or they are younger",
    advice="`halfopen diagnose` tells why the program that listens does not accept, or too slowly",
    needs=NEEDS,
    rare=True,
)
def not_accepted(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.UNACCEPTED):
        if group.state == ESTABLISHED and group.oldest_s >= AT_WORK_S:
            cures = look_twice(e, "not-accepted", command="diagnose")
            yield Hit(Level.NOTICE, who(e, group), cures=cures)


@rule(
    "close-wait-unaccepted",
    *(Level.NOTICE, Level.WARNING),
    title="clients hung up while they waited for accept()",
    doc="in CLOSE_WAIT, and no process holds the connection yet: the client gave up while it was in the accept queue",
    unless="a process holds each connection in CLOSE_WAIT",
    advice="the program that listens does not accept, or too slowly: `halfopen status`, `halfopen diagnose`",
    needs=NEEDS,
    rare=True,
)
def close_wait_unaccepted(e: Evidence) -> Iterator[Hit]:
    for group in groups_of(e, Signature.UNACCEPTED):
        if group.state == CLOSE_WAIT:
            yield Hit(by_number(group), who(e, group), cures=look_twice(e, "close-wait-unaccepted", command="diagnose"))
