"""Advice on one listener: the release time, backlog and cookies that it needs, by handshakes and queues that were seen.

What is advised is an Action with its reason, as everything that changes the system.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.advice import choices, depths, room
from halfopen.core.advice.choices import Rests, RetriesChoice
from halfopen.core.advice.depths import Depth, QueueSeen
from halfopen.core.advice.room import Room
from halfopen.core.advice.silent import speaks_first
from halfopen.core.findings.cures import Cure
from halfopen.core.model import timing
from halfopen.core.model.handshakes import Handshakes
from halfopen.core.model.listeners import ListenerView
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.tune.goals import GOOD_RETRIES
from halfopen.core.tune.keys import BACKLOG, COOKIES, RETRIES, SOMAXCONN
from halfopen.core.where import Host, Namespace

REASON: Final = "advise"
# A program that keeps up accepts sooner.
_KEEPS_UP_S: Final = 1.0


class ListenerWatched(Struct, frozen=True, eq=False):
    """The observations of a listener in a time. rests: on what its handshakes rest; None: sources were not counted.

    unanswered_per_s: connections a second that find room in the queue and that nobody answers; what is answered by a
    SYN cookie is not among them. rto_max_s: the longest wait between SYN-ACKs here. overflows: connections that found
    an accept queue full. backlogs: of each of its sockets. opened_s: its sockets were opened this many seconds before
    the end, where that was meanwhile.
    """

    view: ListenerView
    handshakes: Handshakes
    depths: Sequence[Depth]
    rests: Rests | None = None
    unanswered_per_s: float = 0.0
    rto_max_s: float = timing.RTO_MAX_S
    overflows: int = 0
    backlogs: Sequence[int] = ()
    opened_s: float | None = None

    @property
    def backlog(self) -> int | None:
        """The shortest of its sockets, as each has queues of its own; None where it could not be read."""
        if self.view.accept_queue_limit is None:
            return None
        return min(self.backlogs, default=self.view.accept_queue_limit // self.view.members)

    @property
    def longest(self) -> int:
        """The longest of them; 0 where it could not be read."""
        return max(self.backlogs, default=self.backlog or 0)


class ListenerAdvice(Struct, frozen=True, eq=False):
    """The needs of a listener, and how far that is proved.

    choices: of the release time. release: the shortest that is proved to cost no more than `tolerated` of its clients;
    None: none is. too_short: at least this share of clients finished only after the last SYN-ACK. in_force: the fewest
    retries that the kernel gave meanwhile, fewer than configured for `pruned_s`. given_up_s: when the kernel gave up
    for most of the time. silent: the protocol in which the
    server speaks first, "" for none. stays_full: the program does not keep up with an accept queue, whose length tells
    nothing of the room that it needs then. cures: the best last.
    """

    seen: ListenerWatched
    choices: tuple[RetriesChoice, ...]
    tolerated: float
    release: RetriesChoice | None
    too_short: float
    in_force: int
    pruned_s: float
    given_up_s: float
    silent: str
    syn_queue: Room
    accept_queue: Room
    accept_wait_s: float | None
    stays_full: bool
    backlog: int | None
    needed_backlog: int
    cures: tuple[Cure, ...]

    @property
    def falls_behind(self) -> bool:
        """Whether connections wait for long to be accepted in a queue that has room left: a longer one would only have
        more of them wait.
        """
        return not self.stays_full and _falls_behind(self.seen)

    @property
    def finished(self) -> int:
        """The handshakes that a release time bears on."""
        return choices.timed(self.seen.handshakes)

    @property
    def proof_s(self) -> float | None:
        """How long it takes, at this rate, to prove that a release time costs no more than `tolerated`.

        None where clients were seen that would be lost with any, none finished, or the same few sources come again.
        """
        per_s, rests = self.seen.handshakes.per_s(self.finished), self.seen.rests
        if not per_s or not any(choice.lost == 0 for choice in self.choices):
            return None
        if rests is not None and rests.exhausted:
            return None
        independent = 1.0 if rests is None else min(rests.independent, self.finished) / self.finished
        return -math.log(choices.ALPHA) / self.tolerated / (per_s * independent) if independent else None


def advise(seen: ListenerWatched, netns: str, settings: Mapping[str, int]) -> ListenerAdvice:
    """The advice on one listener of a namespace that has these settings."""
    view, shakes = seen.view, seen.handshakes
    in_force, pruned_s = depths.fewest_retries(seen.depths, view.retries, view.syn_queue_limit or 0, view.members)
    silent = speaks_first(view.port, view.processes)
    tolerated = choices.TOLERATED_SILENT if silent else choices.TOLERATED
    found = choices.choices(
        shakes, in_force, seen.rests, seen.rto_max_s, seen.unanswered_per_s, room=view.syn_queue_limit
    )
    looked_s = seen.depths[-1].at_s - seen.depths[0].at_s if seen.depths else 0.0
    mostly = in_force if pruned_s * 2 > looked_s else view.retries
    given_up_s = timing.release_time_s(mostly, seen.rto_max_s)
    release = choices.shortest(found, tolerated)
    stays_full = depths.stays_full(seen.depths)
    # Handshakes whose ACK met a full accept queue are late for that reason, and not because of the release time.
    too_short = 0.0 if stays_full or seen.overflows else choices.cut_off(shakes, in_force)
    then_s = timing.release_time_s(view.retries, seen.rto_max_s) if release is None else release.release_time_s
    syn, accept = _queues(seen, given_up_s, then_s, cookies=bool(settings.get("tcp_syncookies")))
    finished_per_s = shakes.per_s(shakes.completed) or 0.0
    wait_s = None if stays_full else room.wait_s(_accept_seen(seen), finished_per_s)
    slow = stays_full or _falls_behind(seen)
    each = math.ceil(max(syn.needed, 0 if slow else accept.needed) / view.members)
    has = seen.backlog
    # Where the shortest socket overflows, the others are long enough.
    least = seen.longest if seen.overflows and has is not None and has < seen.longest and not slow else 0
    cures = (
        *_cookies(netns, settings),
        *_backlog(view, netns, settings, has, max(each, least)),
        *_release(view, netns, release, too_short if too_short > tolerated else 0.0),
    )
    return ListenerAdvice(
        seen,
        found,
        tolerated,
        release,
        too_short if too_short > tolerated else 0.0,
        in_force,
        pruned_s,
        given_up_s,
        silent,
        syn,
        accept,
        wait_s,
        stays_full,
        has,
        each,
        cures,
    )


def _falls_behind(seen: ListenerWatched) -> bool:
    """Whether connections wait for long even when fewest do: after a burst a queue is empty again."""
    per_s = seen.handshakes.per_s(seen.handshakes.completed) or 0.0
    return depths.lowest(seen.depths) >= max(per_s, 1.0) * _KEEPS_UP_S


def _accept_seen(seen: ListenerWatched) -> QueueSeen:
    return depths.seen([(depth.at_s, depth.accept_queue) for depth in seen.depths])


def _queues(seen: ListenerWatched, now_s: float, then_s: float, *, cookies: bool) -> tuple[Room, Room]:
    """now_s: when the kernel gives up; then_s: the release time that is advised. cookies: what finds no room is
    answered by a cookie, and those that nobody answers need none.
    """
    shakes, view = seen.handshakes, seen.view
    honest = (shakes.per_s(choices.timed(shakes)) or 0.0) * shakes.times.mean_s
    known = [(depth.at_s, depth.syn_queue) for depth in seen.depths if depth.syn_queue is not None]
    silent = seen.unanswered_per_s * now_s
    silent_then = 0.0 if cookies else seen.unanswered_per_s * then_s
    syn = room.syn_queue(honest, silent, silent_then, depths.seen(known), view.syn_queue_limit)
    limit = view.accept_queue_limit
    return syn, room.accept_queue(_accept_seen(seen), None if limit is None else limit + view.members)


def _cookies(netns: str, settings: Mapping[str, int]) -> tuple[Cure, ...]:
    wrong = settings.get("tcp_syncookies") in (0, 2)
    return ((ChangeSetting(netns, COOKIES, 1, REASON),),) if wrong else ()


def _backlog(
    view: ListenerView, netns: str, settings: Mapping[str, int], has: int | None, each: int
) -> tuple[Cure, ...]:
    if has is None or each <= has or has >= room.MOST:
        return ()
    to = room.backlog(each)
    change = ChangeListener(netns, view.address, view.port, BACKLOG, to, REASON)
    if settings.get("somaxconn", to) < to:
        return ((ChangeSetting(netns, SOMAXCONN, to, REASON), change),)
    return ((change,),)


def _release(view: ListenerView, netns: str, found: RetriesChoice | None, too_short: float) -> tuple[Cure, ...]:
    if too_short:
        to = max(GOOD_RETRIES, view.retries + 1)
    elif found is not None and found.retries < view.retries:
        to = found.retries
    else:
        return ()
    return ((ChangeListener(netns, view.address, view.port, RETRIES, to, REASON),),)


class AdviceGiven(Struct, frozen=True, eq=False):
    """Advice on the listeners of one namespace, the busiest first, after `seconds` from `time` (since 1970) on.

    settings: of the namespace. cookies_sent, cookies_back: SYN cookies in that time. interrupted: ended before the time
    asked for. capped: whether this kernel lets TCP_RTO_MAX_MS cap the wait between SYN-ACKs; None: could not be told.
    missing: what could not be counted, and why. quiet: listeners at which nothing finished and nothing waits. released:
    half-open connections that halfopen released meanwhile, by the audit log. gone: handshakes that finished at
    listeners that are there no longer. opened: listeners whose sockets were opened meanwhile, and how many seconds
    before the end.
    """

    where: Namespace
    host: Host
    time: float
    seconds: float
    listeners: tuple[ListenerAdvice, ...]
    settings: Mapping[str, int]
    cookies_sent: int = 0
    cookies_back: int = 0
    interrupted: bool = False
    capped: bool | None = False
    missing: tuple[str, ...] = ()
    quiet: int = 0
    released: int = 0
    gone: int = 0
    opened: tuple[tuple[ListenerView, float], ...] = ()

    @property
    def unanswered_cookies_per_s(self) -> float:
        """SYN cookies a second that nobody sent back: no queue holds these."""
        return max(0, self.cookies_sent - self.cookies_back) / self.seconds if self.seconds else 0.0

    @property
    def cures(self) -> tuple[Cure, ...]:
        """The advice for all listeners, the best last."""
        return tuple(dict.fromkeys(cure for one in reversed(self.listeners) for cure in one.cures))
