"""Whether SYNs come that nobody means to follow up, and whose they are.

Nobody is accused who finishes handshakes, who did lately, or who asks again: the rest are strangers. They are a flood
where most arrivals are theirs; and where a few hosts or one prefix hold them, once it was counted that none finishes.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from halfopen.core.findings.contrast import of_no_client, told_from_clients
from halfopen.core.findings.ended import FloodEnd, come_again, ended
from halfopen.core.findings.evidence import FEW, Evidence
from halfopen.core.findings.few_hosts import HELD, few_hosts, hosts_beside, of_hosts
from halfopen.core.findings.full_queues import at_full_queues, come_at_full_queues
from halfopen.core.findings.lasting import SHORT_S, Lasting, which_last
from halfopen.core.findings.sources import SOME
from halfopen.core.findings.unfollowed import unfollowed
from halfopen.core.model.arrived import are_in
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.prefixes import Numbers, Prefix, narrowest, networks
from halfopen.core.model.sources import Sources

# Of all arrivals; below it the sources may be those of clients on a bad path.
MOST: Final = 0.5
# Or less, of addresses that have nothing to do with those of clients: hardly any is of a network from which anybody
# finishes, and this many networks are known. Clients that do not get through have neighbours who do.
_APART_FROM_CLIENTS: Final = 0.02
_FEWEST_NETWORKS: Final = 5
_ONCE: Final = 0.9
# A smaller part of all arrivals harms nobody, whoever they are.
WEIGHTY: Final = 0.1
# Below this many a second that nobody answers is what any public address sees.
LEAST_PER_S: Final = 2.0
# This many of a few hosts that last are enough, if all of theirs, however young, are FEW.
_FEWEST: Final = 10
_SECOND_S: Final = 1.0
# Standard deviations by which more came lately than came before: no chance.
_FASTER: Final = 3.0
# And by how many times, before the youngest are mentioned: some of them are clients about to finish.
_MUCH: Final = 2.0
# More are told together: they fit no screen.
_APART: Final = 3
# As if drawn: hardly an address twice, or too many addresses for one prefix to stand out.
_SPREAD: Final = 0.5
_MANY_ADDRESSES: Final = 1000
_STANDS_OUT: Final = 0.02
# Real clients ask again when they hear nothing; among forged ones a chance repetition is rare.
_ASK_AGAIN: Final = 0.05
# Clients that finished until this long ago, by what came in the seconds before, at least.
_GONE_S: Final = 1.0
_FORGOTTEN_S: Final = 120.0
_BEFORE_S: Final = 5.0
_NO_CHANCE: Final = 10.0


class SilentSources(Struct, frozen=True):
    """A flood.

    id: the id of the finding. silent: the lasting connections of its sources. unanswered_per_s: handshakes a second
    that its sources begin (began, once the flood is over), those answered by cookie included. completions_per_s:
    handshakes that finish at `where`, the listener under attack (None: several). share: the part of all arrivals that
    is not answered, at least; limit: the share that decided. counted: each source was counted, and none of them
    finishes (else that follows from totals). cookies_per_s: the part of unanswered_per_s that is answered by cookie.
    hosts: the prefixes of its hosts, where they are few, the one with the most connections first. prefix: the one
    prefix that it comes from, if nobody there finishes. ended: None while the flood goes on. near_clients: the part of
    its sources in networks from which anybody finishes, if that decided as well. shared: part of unanswered_per_s and
    of cookies_per_s belongs to other listeners, and it was not counted how much. entering_per_s: connections a second
    that came between the looks, too young to be told from those of clients, if clearly a multiple of unanswered_per_s;
    else 0. doubtful: the sources may as well be clients whose last ACKs are lost. like_clients: they
    have addresses as clients have.
    """

    id: str
    silent: Lasting
    unanswered_per_s: float
    completions_per_s: float
    share: float
    counted: bool
    cookies_per_s: float = 0.0
    where: ListenerView | None = None
    hosts: tuple[tuple[Prefix, float], ...] = ()
    prefix: Prefix | None = None
    ended: FloodEnd | None = None
    limit: float = MOST
    near_clients: float | None = None
    shared: bool = False
    entering_per_s: float = 0.0
    doubtful: bool = False
    like_clients: bool = False


def unanswered_per_s(e: Evidence, silent: Lasting) -> float:
    """SYN-ACKs a second that these never answer, kept in a queue or sent as a cookie.

    Where cookies are sent the queue is full: what is in it came earlier, at a rate that has nothing to do with now.
    """
    cookies = e.cookies_unanswered_per_s
    return max(silent.per_s, cookies + e.entered_per_s()) if cookies else silent.per_s


def unanswered_share(e: Evidence, unanswered: float, completions_per_s: float) -> float:
    """At least this share of the arrivals is never answered, of which there are `unanswered` a second: none seen to
    finish in half a second can be 2 a second.
    """
    seen = completions_per_s * e.interval_s
    most = (seen + math.sqrt(seen) + 1) / e.interval_s
    return unanswered / (unanswered + most)


def many(e: Evidence, silent: Lasting) -> bool:
    """Whether that many last that it takes an explanation."""
    enough = silent.count >= FEW or (silent.count >= SOME and e.cookies_unanswered_per_s >= FEW)
    return enough and (unanswered_per_s(e, silent) >= LEAST_PER_S or e.fullest >= 0.5)


def floods(e: Evidence) -> tuple[SilentSources, ...]:
    """The floods that the evidence shows, the one at the highest rate first."""
    return tuple(one for one in e.once(_floods) if not one.doubtful)


def flood(e: Evidence) -> SilentSources | None:
    """The flood at the highest rate, if there is any."""
    return next(iter(floods(e)), None)


def doubtful(e: Evidence) -> SilentSources | None:
    """The silent sources that begin most handshakes a second and may as well be clients whose last ACKs are lost."""
    return next((one for one in e.once(_floods) if one.doubtful), None)


def unnamed(e: Evidence) -> bool:
    """Whether many silent sources wait that are no flood, and that no path explains: they are not known to finish, nor
    neighbours of clients that are cut off.
    """
    asked = e.sources
    if not e.rates or floods(e) or asked.cut_everywhere or _clients_ask_again(e) or not many(e, asked.strangers):
        return False
    rate = unanswered_per_s(e, asked.strangers)
    return unanswered_share(e, rate, e.completions_per_s) >= WEIGHTY


def _floods(e: Evidence) -> tuple[SilentSources, ...]:
    return (_that_last(e) or _counted(e)) if e.rates else ()


def _counted(e: Evidence) -> tuple[SilentSources, ...]:
    """The flood that only packets show."""
    found = unfollowed(e)
    if found is None:
        return ()
    share = unanswered_share(e, found.per_s, found.finished_per_s)
    silent = Lasting(since_s=SHORT_S, per_s=found.per_s, sources=Sources(distinct=found.distinct))
    cookies = min(found.per_s, e.cookies_unanswered_per_s)
    rates = found.per_s, found.finished_per_s, share
    doubt = not told_from_clients(e, found.where, found.numbers, found.per_s)
    one = SilentSources("spoofed-flood", silent, *rates, False, cookies, found.where, doubtful=doubt)
    return (one,) if share >= MOST else ()


def _that_last(e: Evidence) -> tuple[SilentSources, ...]:
    asked = e.sources
    if not asked.strange.any() or _clients_ask_again(e) or asked.cut_everywhere or _clients_are_gone(e):
        return ()
    found = _kinds(e, np.ones(len(asked.numbers), dtype=bool))
    places = [at for i in range(len(e.now.views)) if np.count_nonzero((at := e.at(i)) & asked.strange) >= FEW]
    if len(places) > 1:
        # One flood of one port may hide another one of another port.
        apart = [one for at in places for one in _kinds(e, at)]
        if len(apart) <= _APART and {one.id for one in apart} - {one.id for one in found}:
            found = apart
    return tuple(sorted(found, key=lambda one: -one.unanswered_per_s))


def _kinds(e: Evidence, scope: NDArray[np.bool_]) -> list[SilentSources]:
    """The floods among the requests of a scope, (N,): hosts that stand out beside many others are one of their own."""
    asked = e.sources
    numbers, lasts = asked.numbers[scope & asked.strange], asked.lasts[scope & asked.strange]
    hosts = few_hosts(numbers, lasts)
    if hosts:
        near = _neighbourhood(e, numbers, hosts)
        return _some(_judged(e, "few-sources-flood", scope & _of(e, hosts), hosts=tuple(hosts), prefix=near))
    hosts, found = hosts_beside(numbers, lasts), []
    if hosts:
        theirs = _of(e, hosts)
        near = _neighbourhood(e, numbers[of_hosts(hosts, numbers)], hosts)
        found = _some(_judged(e, "few-sources-flood", scope & theirs, hosts=tuple(hosts), prefix=near))
        scope = scope & ~theirs
    return found + _some(_spread(e, scope))


def _some(found: SilentSources | None) -> list[SilentSources]:
    return [] if found is None else [found]


def _of(e: Evidence, hosts: list[tuple[Prefix, float]]) -> NDArray[np.bool_]:
    """The requests of these hosts, (N,)."""
    return of_hosts(hosts, e.sources.numbers)


def _spread(e: Evidence, scope: NDArray[np.bool_]) -> SilentSources | None:
    """The flood of a network, or from addresses that look drawn at random, among the requests of a scope, (N,)."""
    asked = e.sources
    mask = scope & asked.strange
    held = narrowest(asked.numbers[mask], HELD) if mask.any() else None
    if held is not None:
        # A network from which others finish is one of clients.
        return None if asked.finishes(held) else _judged(e, "prefix-flood", scope & asked.within(held), prefix=held)
    strangers = asked.among(mask)
    if not strangers.count:
        return None
    even = strangers.sources.distinct >= _MANY_ADDRESSES and strangers.sources.top[0].share <= _STANDS_OUT
    if even or strangers.sources.distinct >= strangers.count * _SPREAD:
        return _judged(e, "spoofed-flood", scope)
    return None


def _clients_ask_again(e: Evidence) -> bool:
    """Whether clients here and there ask again: then who does not may be one who has not yet."""
    asked = e.sources
    again = np.count_nonzero(asked.repeated)
    return asked.deaf is None and bool(again >= _ASK_AGAIN * (again + np.count_nonzero(asked.strange)))


def _clients_are_gone(e: Evidence) -> bool:
    """Whether clients finished handshakes until a moment ago, and none does now, though every SYN is admitted: no flood
    brings that about, an outage does; then those who wait may be clients.
    """
    known = e.sources.completers
    if e.completions_per_s or any(e.full()) or e.rate("ListenDrops") or not len(known.lately):
        return False
    if any(view.accept_queue for view in e.now.listeners):
        return False  # a program that does not accept brings it about as well
    gone_s = known.youngest_s(None)
    if not _GONE_S <= gone_s <= _FORGOTTEN_S:
        return False
    before_per_s = known.lately_within(None, gone_s + _BEFORE_S) / _BEFORE_S
    return before_per_s >= 1.0 and before_per_s * gone_s >= _NO_CHANCE


def held_by(e: Evidence) -> Prefix | None:
    """The prefix that holds those that last; None where none does."""
    return narrowest(e.sources.numbers[e.sources.last], HELD)


def _neighbourhood(e: Evidence, numbers: Numbers, hosts: list[tuple[Prefix, float]]) -> Prefix | None:
    """The IPv4 /24 or IPv6 /64 of several hosts, where it holds most of them and nobody there finishes."""
    first = hosts[0][0]
    near = first.wider(24 if first.version == 4 else 64)
    if len(hosts) == 1 or np.count_nonzero(near.holds(numbers)) < HELD * len(numbers) or e.sources.finishes(near):
        return None
    return near


def _judged(
    e: Evidence,
    id: str,
    theirs: NDArray[np.bool_],
    *,
    hosts: tuple[tuple[Prefix, float], ...] = (),
    prefix: Prefix | None = None,
) -> SilentSources | None:
    """The flood of these sources, if it is one; theirs (N,): all requests of theirs, however young."""
    asked = e.sources
    mask = theirs & asked.strange
    silent, where = asked.among(mask), _where(e, mask)
    over = ended(e, mask, where) if silent.count else None
    met = come_at_full_queues(e, mask)
    cookies, shared = met.cookies_per_s, met.shared and over is None
    finished = e.completions_per_s if shared else e.finished_per_s(where)
    rate = silent.per_s if over is None else over.came_per_s
    if over is None and cookies:
        full = at_full_queues(e)
        # Beside those where queues are full, at other listeners.
        others = asked.among(mask & ~full).per_s if np.any(mask & ~full) else 0.0
        rate = max(rate, met.per_s + others)
    if over is None and id == "spoofed-flood":
        rate = max(rate, come_again(e, mask))
    share = unanswered_share(e, rate, finished)
    none_finishes = e.counted and (bool(hosts) or prefix is not None)
    enough = many(e, silent) or (none_finishes and silent.count >= _FEWEST and _of_a_second(e, theirs) >= FEW)
    # A few that vanish beside many that finish may be clients who went out of reach.
    counts = share >= WEIGHTY or rate >= FEW or e.fullest >= 0.5
    near = None
    if share < MOST and id == "spoofed-flood" and share >= WEIGHTY and over is None:
        near = _near_clients(e, mask)
    if not enough or not (share >= MOST or (none_finishes and counts) or near is not None):
        return None
    limit = MOST if near is None else WEIGHTY
    entering = 0.0
    if over is None:
        rate = max(rate, _lately_per_s(e, theirs, silent.per_s))
        entering = _entering_per_s(e, theirs, rate)
    apart = bool(hosts) or prefix is not None
    doubt = not told_from_clients(e, where, asked.numbers[mask], rate, hosts=len(hosts), apart=apart)
    return SilentSources(
        id,
        silent,
        rate,
        finished,
        share,
        none_finishes,
        cookies,
        where,
        hosts,
        prefix,
        over,
        limit,
        near,
        shared,
        entering,
        doubt,
        not of_no_client(asked.numbers[mask]),
    )


def _where(e: Evidence, mask: NDArray[np.bool_]) -> ListenerView | None:
    """The listener that these requests, by a mask (N,), are on; None where others have more than a few of them, which
    are flooded as well.
    """
    view = e.mostly_at(mask)
    if view is None:
        return None
    elsewhere = int(np.count_nonzero(mask & ~e.at(e.now.views.index(view))))
    return None if elsewhere >= max(_FEWEST, WEIGHTY * np.count_nonzero(mask)) else view


def _near_clients(e: Evidence, mask: NDArray[np.bool_]) -> float | None:
    """The part of these sources, by a mask (N,), that are of a network from which anybody finishes; None where that is
    more than hardly any, or too little is known of clients.
    """
    clients = e.sources.networks_of_clients
    sources = e.sources.among(mask).sources
    # Clients that do not get through try again.
    once = sources.distinct >= _ONCE * int(np.count_nonzero(mask))
    if not e.counted or not once or len(clients) < _FEWEST_NETWORKS:
        return None
    near = float(np.mean(are_in(networks(e.sources.numbers[mask]), clients)))
    return near if near <= _APART_FROM_CLIENTS else None


def _lately_per_s(e: Evidence, theirs: NDArray[np.bool_], before_per_s: float) -> float:
    """The rate of these requests, by a mask (N,), that wait for a second or more and do not last yet; 0 where it does
    not clearly exceed before_per_s, the rate of those that last: while a queue was full, hardly any was admitted.
    """
    columns, asked = e.now.columns, e.sources
    span_s = asked.since - _SECOND_S
    if columns is None or span_s < _SECOND_S:
        return 0.0
    of_late = which_last(e.now, _SECOND_S) & (columns.ages_s < asked.since) & ~asked.known
    per_s = int(np.count_nonzero(theirs & of_late)) / span_s
    return per_s if _clearly_more(per_s, before_per_s, span_s) else 0.0


def _entering_per_s(e: Evidence, theirs: NDArray[np.bool_], known_per_s: float) -> float:
    """The rate of these requests, by a mask (N,), that came between the looks; 0 where it is not clearly a multiple of
    known_per_s.
    """
    per_s = e.entered_per_s(theirs & ~e.sources.known)
    return per_s if _clearly_more(per_s, _MUCH * known_per_s, e.interval_s) else 0.0


def _clearly_more(per_s: float, than_per_s: float, seconds: float) -> bool:
    """Whether the difference of two rates, counted over this time, is no chance."""
    return (per_s - than_per_s) * seconds >= _FASTER * math.sqrt((per_s + than_per_s) * seconds)


def _of_a_second(e: Evidence, theirs: NDArray[np.bool_]) -> int:
    """How many of these requests are half-open for a second or more."""
    if e.now.columns is None:
        return 0
    return int(np.count_nonzero(theirs & ~e.now.is_deferred & (e.now.columns.ages_s >= _SECOND_S)))
