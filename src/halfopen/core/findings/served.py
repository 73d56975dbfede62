"""Clients that closed their end of a connection, and the server that did not: which groups are of which kind."""

from __future__ import annotations

from typing import Final

from halfopen.core.findings.closing_groups import groups_of
from halfopen.core.findings.evidence import Evidence
from halfopen.core.model.closing import SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED

# A thread that is at work may leave a client that hung up unread for this long.
AT_WORK_S: Final = 10.0
# A stuck server leaves one end in this many unread, or more.
_SOME_UNREAD: Final = 4
UNREAD: Final = (Signature.END_UNREAD, Signature.DATA_UNREAD)
ENDED: Final = (Signature.END_READ, *UNREAD)


def is_stopped(e: Evidence, group: SocketGroup) -> bool:
    """Whether the process of a group does not run at all, which explains whatever it leaves undone."""
    return e.closing is not None and group.pid in e.closing.sockets.stopped


def unread_ends(e: Evidence) -> list[SocketGroup]:
    """Groups of clients that hung up on a program that has not read so for long."""
    return [group for group in _of_clients(e, *UNREAD) if not is_stopped(e, group)]


def read_ends(e: Evidence, *, answered: bool) -> list[SocketGroup]:
    """Groups of clients whose end a program read long ago and did not close; answered: what they asked for last was
    answered, or they asked for nothing.

    Left out are those of a server that leaves others unread: they came together with the last data, and were read with
    them by a thread that is stuck since; and clients that closed only their half and were sent data between two looks.
    """
    return [
        group
        for group in _of_clients(e, Signature.END_READ)
        if not is_stopped(e, group)
        and (2 * group.unanswered < group.count) is answered
        and 2 * (group.went_on or 0) < group.count
        and not _beside_unread(e, group)
    ]


def has_unread_requests(group: SocketGroup) -> bool:
    """Whether a program that accepted these idle connections left something unread on some."""
    return group.incoming and group.state == ESTABLISHED and group.with_unread > 0


def _beside_unread(e: Evidence, group: SocketGroup) -> bool:
    unread = [one for one in unread_ends(e) if one.owner_and_peer == group.owner_and_peer]
    return sum(one.count for one in unread) >= group.count / _SOME_UNREAD


def _of_clients(e: Evidence, *kinds: Signature) -> list[SocketGroup]:
    groups = (group for group in groups_of(e, *kinds) if group.incoming and group.state == CLOSE_WAIT)
    return [group for group in groups if group.oldest_s >= AT_WORK_S]


def asked_others(e: Evidence, group: SocketGroup) -> list[SocketGroup]:
    """The connections of the same process to others that have not answered it for long, those with the most first;
    none where they are fewer than half of the group.
    """
    mine = (one for one in groups_of(e, Signature.IDLE) if one.pid == group.pid and not one.incoming)
    waiting = [one for one in mine if group.pid and one.state == ESTABLISHED and one.awaiting]
    if 2 * sum(one.awaiting for one in waiting) < group.count:
        return []
    return sorted(waiting, key=lambda one: -one.awaiting)


def is_nobodys(e: Evidence, group: SocketGroup) -> bool:
    """Whether all processes that are seen were looked at, and none has the connections of a group among its files."""
    return not group.pid and e.closing is not None and e.closing.sockets.owners_whole


def is_handed(e: Evidence, group: SocketGroup) -> bool:
    """Whether others listen where the connections of a group came to, and its process does not, so it accepted none."""
    listening = () if e.closing is None else e.closing.sockets.listening.get(group.local_port, ())
    return bool(group.pid) and bool(listening) and group.pid not in listening
