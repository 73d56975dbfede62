"""What the rules about open and closing connections share: the facts of a group, and the cures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from halfopen.core.closing_filter import STATE_WORDS, ClosingFilter, peer
from halfopen.core.findings.cures import Cure, RaiseDescriptors
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.finding import Fact, Level
from halfopen.core.model.closing import SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.policy.actions import Look
from halfopen.core.policy.connection_actions import DESTROY, USUAL_MOST, ChangeConnections

NEEDS: Final = (Need.CLOSING,)
# Fewer are a trifle.
FEW_SOCKETS: Final = 10
# No pool keeps more connections to one server.
LARGER_THAN_A_POOL: Final = 50
_MOST_OF_THE_FILES: Final = 0.8
_USED_UP: Final = 0.95
_SECONDS: Final = 10
_LONGER_S: Final = 60
_WORDS: Final = {number: word for word, number in STATE_WORDS.items()}


def groups_of(e: Evidence, *kinds: Signature) -> list[SocketGroup]:
    """The groups of these signatures; none where connections were not read."""
    return [] if e.closing is None else e.closing.of(*kinds)


def with_values(facts: tuple[Fact, ...], values: Mapping[str, float]) -> tuple[Fact, ...]:
    """Facts with other values, by name, where `values` has one."""
    return tuple(replace(fact, value=values.get(fact.name, fact.value)) for fact in facts)


def by_number(group: SocketGroup) -> Level:
    """A warning, or a notice where there are only a few."""
    return Level.WARNING if group.count >= FEW_SOCKETS else Level.NOTICE


def who(e: Evidence, group: SocketGroup) -> tuple[Fact, ...]:
    """The facts of a group: whose it is, with whom, how many, how old, what they hold, what two looks told."""
    facts = []
    if group.process is not None:
        facts += [Fact("process", group.process.name), Fact("pid", group.pid)]
        inside = group.process.inside
        facts += [Fact("inside", inside)] if inside else []
    facts += [
        Fact("peer", group.peer),
        Fact("peers", group.peers),
        Fact("incoming", int(group.incoming)),
        Fact("socket_state", group.state_name),
        Fact("signature", group.signature.word),
        Fact("sockets", group.count),
        Fact("oldest_s", group.oldest_s, unit="s"),
        Fact("youngest_s", group.youngest_s, unit="s"),
        Fact("ages_exact", int(group.exact)),
        Fact("younger_than_10s", group.new),
        Fact("growth_per_s", group.per_s, unit="per_s"),
    ]
    if group.unread:
        facts.append(Fact("unread_bytes", group.unread))
    if group.unacked:
        facts.append(Fact("unacked_bytes", group.unacked))
    if group.came is not None and group.left is not None and e.closing is not None:
        facts += [
            Fact("came", group.came),
            Fact("left", group.left),
            Fact("between_looks_s", e.closing.seconds or 0.0, unit="s"),
        ]
    files = None if e.closing is None else e.closing.sockets.open_files.get(group.pid)
    if files is not None:
        facts.append(Fact("descriptors", files[0], files[1]))
    return tuple(facts)


def most_of_its_files(e: Evidence, group: SocketGroup) -> bool:
    """Whether the process is about to run out of descriptors, of which the group holds the most."""
    files = None if e.closing is None else e.closing.sockets.open_files.get(group.pid)
    return files is not None and files[0] >= _MOST_OF_THE_FILES * files[1] and group.count >= files[0] / 2


def fill_its_files(e: Evidence, alike: Sequence[SocketGroup]) -> bool:
    """Whether a process has used up its descriptors, and these groups of one process are half of them or more: whatever
    leaks can grow no further then.
    """
    pid = alike[0].pid if alike else 0
    files = None if e.closing is None else e.closing.sockets.open_files.get(pid)
    if not pid or files is None:
        return False
    return files[0] >= _USED_UP * files[1] and sum(group.count for group in alike) >= files[0] / 2


def by_growth(e: Evidence, group: SocketGroup) -> Level:
    """Critical where the process is about to run out of descriptors, a warning where the group grows or is large."""
    if most_of_its_files(e, group):
        return Level.CRITICAL
    return Level.WARNING if group.grows else by_number(group)


def look_twice(e: Evidence, reason: str, *, command: str = "closing") -> tuple[Cure, ...]:
    """Look for some seconds; longer than was looked for already."""
    looked_s = 0.0 if e.closing is None else e.closing.seconds or 0.0
    return ((Look(e.netns, f"{command} --for {_SECONDS if looked_s < _SECONDS else _LONGER_S}s", reason),),)


def filter_words(group: SocketGroup) -> str:
    """The options that choose the sockets of a group, each with a space before it."""
    words = f" --process {group.pid}" if group.pid else ""
    words += f" --state {_WORDS[group.state]}" if group.state in _WORDS else ""
    if group.incoming:
        return f"{words} --listener :{group.local_port}"
    return f"{words} --peer {group.peer}" if group.peers == 1 else f"{words} --kind {group.signature.word}"


def show_sockets(e: Evidence, group: SocketGroup) -> tuple[Cure, ...]:
    """List the sockets of a group."""
    return ((Look(e.netns, f"closing list{filter_words(group)}", group.signature.word),),)


def more_files(e: Evidence, group: SocketGroup, reason: str) -> tuple[Cure, ...]:
    """The cure that doubles the descriptors of a group's process, to 1,024 at least; none if its limit is not known."""
    files = None if e.closing is None else e.closing.sockets.open_files.get(group.pid)
    return () if files is None else ((RaiseDescriptors(group.pid, max(1024, 2 * files[1]), reason),),)


def change_sockets(e: Evidence, group: SocketGroup, how: str, reason: str) -> tuple[Cure, ...]:
    """The cure that changes the connections of a group; none where it is not known whose they are."""
    if not group.pid:
        return ()
    return _changed(e, group, how, reason, ClosingFilter((str(group.pid),), (group.state,)))


def end_group(e: Evidence, group: SocketGroup, reason: str) -> tuple[Cure, ...]:
    """The cure that ends the connections of a group that no process holds."""
    by = ClosingFilter(states=(group.state,), kinds=(group.signature.word,))
    return _changed(e, group, DESTROY, reason, by)


def _changed(e: Evidence, group: SocketGroup, how: str, reason: str, by: ClosingFilter) -> tuple[Cure, ...]:
    if group.incoming:
        filter = replace(by, listeners=((None, group.local_port),))
    elif group.peers > 1:
        filter = replace(by, kinds=(group.signature.word,))
    else:
        filter = replace(by, peers=(peer(group.peer),))
    # More come while somebody reads this.
    most = max(USUAL_MOST, 2 * group.count)
    return ((ChangeConnections(e.now.sample.where, how, filter, reason, most),),)
