"""Changes of a running listener: from the user's wishes to values, and the limits in the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.model import timing
from halfopen.core.policy.actions import ChangeListener, FoundValue
from halfopen.core.tune.goals import GOOD_BACKLOG, GOOD_RETRIES
from halfopen.core.tune.keys import BACKLOG, DEFER, RETRIES
from halfopen.core.tune.prices import memory_price, retries_price
from halfopen.core.tune.spots import ListeningSocket, Place, Spot
from halfopen.core.units import Address, listener_text, netns_words, show_duration

if TYPE_CHECKING:
    from halfopen.core.sample import Process

# The largest value of tcp_sock_set_syncnt() (MAX_TCP_SYNCNT).
MOST_RETRIES: Final = 127
_DEFERRING: Final = "where the server speaks first (SSH, SMTP, FTP), a client waits for its greeting all that time"


class Wishes(Struct, frozen=True):
    """The options to set; None: left as it is. retries: TCP_SYNCNT; defer_accept_s: TCP_DEFER_ACCEPT, 0 is off."""

    backlog: int | None = None
    retries: int | None = None
    defer_accept_s: int | None = None

    def values(self) -> dict[str, int]:
        """The options to set, by the journal's key."""
        found = {BACKLOG: self.backlog, RETRIES: self.retries, DEFER: self.defer_accept_s}
        return {key: value for key, value in found.items() if value is not None}


class Running(Struct, frozen=True):
    """One listening socket as it is.

    backlog: the cap of each of its queues. retries: TCP_SYNCNT, None: not set. defer_accept_s: 0 is off. mptcp: it
    speaks Multipath TCP as well. problem: why retries and defer_accept_s could not be read (None and 0 then).
    """

    socket: ListeningSocket
    backlog: int
    accept_queue: int
    retries: int | None
    defer_accept_s: int
    ifindex: int = 0
    mptcp: bool = False
    processes: tuple[Process, ...] = ()
    problem: HalfopenError | None = None

    @property
    def name(self) -> str:
        """`:8080`, or with its address where it is bound to one."""
        return listener_text(self.socket.address, self.socket.port)


class ListenerSummary(Struct, frozen=True):
    """One listener as `tune show` lists it. backlog: the cap of its queues; retries: TCP_SYNCNT, None where it is not
    set; deferred_s: TCP_DEFER_ACCEPT. Both None also where the socket could not be asked.
    """

    address: str
    port: int
    backlog: int
    retries: int | None
    deferred_s: int | None


def meant_by(sockets: Iterable[ListeningSocket], address: Address | None, port: int) -> list[ListeningSocket]:
    """The listeners that [address]:port means. Without an address all on that port; so too for 0.0.0.0 or :: if none is
    on that very address.
    """
    there = [one for one in sockets if one.port == port]
    exact = [one for one in there if address is not None and one.address == str(address)]
    return exact or (there if address is None or address.is_unspecified else [])


def retries_within(release_s: float) -> int:
    """The TCP_SYNCNT with the longest release time not above this many seconds. Raises: UsageError below 3 s."""
    shortest = timing.release_time_s(1)
    if release_s < shortest:
        raise UsageError(
            f"a listener's release time of {show_duration(release_s)} cannot be: TCP_SYNCNT is at least 1, "
            f"which is {show_duration(shortest)}",
            hint="for the whole namespace 1 s is possible: halfopen tune apply --release-time 1s",
        )
    return min(timing.retries_for(release_s), MOST_RETRIES)


def defers_s(seconds: int) -> int:
    """The value to which the kernel rounds a TCP_DEFER_ACCEPT in seconds: 1, 3, 7, 15 …, the next that is not less.

    It keeps a number of SYN-ACK timeouts (`secs_to_retrans()`, net/ipv4/tcp.c).
    """
    if seconds <= 0:
        return 0
    for timeouts in range(1, timing.COUNTS):
        if timing.started_s(timeouts) >= seconds:
            break
    return int(timing.started_s(timeouts))


def standing_retries(synack_retries: int) -> int:
    """The TCP_SYNCNT that behaves as one that is not set: the number that cannot be is the nearest that can."""
    return max(1, min(synack_retries, MOST_RETRIES))


def changes_for(
    sockets: Sequence[Running], wishes: Wishes, somaxconn: int | None, synack_retries: int, place: Place
) -> list[ChangeListener]:
    """The change of each of these sockets for each wish, also where it has the value already.

    somaxconn: None where it is not known. Raises: HalfopenError where somaxconn would turn a wish into its opposite, or
    keep the old value from coming back; UsageError for TCP_SYNCNT of a Multipath TCP listener.
    """
    return [
        _plan_one(s, key, asked, somaxconn, synack_retries, place)
        for key, asked in wishes.values().items()
        for s in sockets
    ]


def _plan_one(
    s: Running, key: str, asked: int, somaxconn: int | None, synack_retries: int, place: Place
) -> ChangeListener:
    if key == BACKLOG:
        return _plan_backlog(s, asked, somaxconn, place)
    if key == DEFER:
        new = defers_s(asked)
        why = "" if new == asked else f"the kernel rounds {asked} s up to {new} s"
        cost = _DEFERRING if new > s.defer_accept_s else ""
        return _change(place, s, key, s.defer_accept_s, new, deferring(new), cost, asked, why)
    if s.mptcp:
        raise UsageError(
            f"{s.name} is a Multipath TCP listener, which takes no TCP_SYNCNT",
            hint=f"tcp_synack_retries applies there: halfopen tune apply --release-time T{netns_words(place.name)}",
        )
    held = synack_retries if s.retries is None else s.retries
    before = show_duration(timing.release_time_s(held))
    now = show_duration(timing.release_time_s(asked))
    reason = f"released after {now} instead of {before}" if now != before else f"released after {now} as before"
    cost = "" if asked == held else retries_price(asked, held)
    return _change(place, s, key, s.retries, asked, reason, cost)


def _plan_backlog(s: Running, asked: int, somaxconn: int | None, place: Place) -> ChangeListener:
    if asked == s.backlog:
        return _change(place, s, BACKLOG, s.backlog, asked, f"each of the two queues holds {asked}")
    if somaxconn is not None and s.backlog > somaxconn:
        least = max(s.backlog, asked)
        raise HalfopenError(
            "somaxconn",
            f"{s.name} has a backlog of {s.backlog}, which somaxconn = {somaxconn} would not allow again",
            hint=f"first halfopen tune apply --set somaxconn={least}{netns_words(place.name)}",
        )
    new = asked if somaxconn is None else min(asked, somaxconn)
    why = "" if new == asked else f"somaxconn = {somaxconn} does not allow {asked}"
    fewer = f"clients are turned away once {new:,} wait to be accepted"
    cost = memory_price(new) if new > s.backlog else fewer if new < s.backlog else ""
    return _change(place, s, BACKLOG, s.backlog, new, f"each of the two queues holds {new}", cost, asked, why)


def _change(
    place: Place,
    s: Running,
    key: str,
    old: int | None,
    new: int,
    reason: str,
    cost: str = "",
    asked: int | None = None,
    why: str = "",
) -> ChangeListener:
    found = FoundValue(Spot(place, key, s.socket), old)
    wanted = None if asked == new else asked
    return ChangeListener(place.name, s.socket.address, s.socket.port, key, new, reason, cost, wanted, why, found)


def deferring(seconds: int) -> str:
    """The effect of a TCP_DEFER_ACCEPT in seconds."""
    if not seconds:
        return "connections are handed over as soon as they are open"
    return f"connections are handed over when data comes, within {show_duration(seconds)}"


def recommended(s: Running, synack_retries: int) -> Wishes:
    """The wishes that would help this listener; empty where nothing is wrong."""
    retries = synack_retries if s.retries is None else s.retries
    return Wishes(
        backlog=GOOD_BACKLOG if s.backlog < GOOD_BACKLOG else None,
        retries=GOOD_RETRIES if retries > GOOD_RETRIES and not s.mptcp else None,
    )


def holders_text(processes: Sequence[Process]) -> str:
    """The processes that hold it: `nginx (pid 12 13 14 15 …, nginx.service)`; empty when none is visible."""
    by_name: dict[tuple[str, str], list[int]] = {}
    for p in processes:
        where = f"container {p.inside}" if p.container else p.unit or ""
        by_name.setdefault((p.name, where), []).append(p.pid)
    return ", ".join(_people(name, where, pids) for (name, where), pids in by_name.items())


def _people(name: str, where: str, pids: Sequence[int]) -> str:
    shown = " ".join(map(str, pids[:4])) + (" …" if len(pids) > 4 else "")
    return f"{name} (pid {shown}{f', {where}' if where else ''})"
