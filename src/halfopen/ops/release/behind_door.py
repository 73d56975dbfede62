"""Releasing with the door held: no victim can finish its handshake between the look and the destroy.

A census finds the victims. The kernel is made to generate their cookies, by which SOCK_DESTROY identifies sockets, and
the door is held: from now on none of the victims can complete. A second census, with the door held, shows which victims
are still half-open. A request whose last ACK came in between is not: it has become a connection, or it waits for data
(TCP_DEFER_ACCEPT) or for room in the accept queue, which the kernel marks (`acked`). The others are destroyed during
that second walk, and the door is opened.
"""

from __future__ import annotations

import time
from contextlib import closing
from socket import socket
from typing import Any, Final

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from halfopen.change.door import hashes
from halfopen.core.errors import HalfopenError
from halfopen.ops.release import cookies
from halfopen.ops.release.beside import Destroying, Second, second
from halfopen.ops.release.counts import ReleaseCounts, Stop
from halfopen.ops.release.doors import AnyDoor
from halfopen.ops.release.meant import Meant
from halfopen.read.bpf import programs
from halfopen.read.bpf.census import Census, NamingCensus
from halfopen.read.requests import kernel_code

# A walk may miss connections while others come and go; a few rounds find them all.
MAX_ROUNDS: Final = 5
# Cookies of up to this many victims are asked for one by one. Asking for one takes as long as dumping _ONE_OF sockets.
_FEW: Final = 16 * 1024
_ONE_OF: Final = 6
# The clock is read before the census, so a connection that was old enough in the first census is so in the second.
_SLACK_S: Final = 0.01


class _Found(Struct):
    """What a census found: the number of requests, the number of victims, and the `hashes` of the victims.

    rows, chains: of the victims, in parts, while they are few enough to be kept. cookies: being generated, for many.
    named: all have cookies already.
    """

    all: int = 0
    victims: int = 0
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    rows: list[NDArray[Any]] = field(default_factory=list)
    chains: list[NDArray[np.uint32]] = field(default_factory=list)
    cookies: cookies.ToAll | None = None
    named: bool = False

    @property
    def few(self) -> bool:
        return not self.named and self.kept <= _FEW and self.kept * _ONE_OF < self.all

    @property
    def nameless(self) -> bool:
        return not self.named and self.cookies is None

    @property
    def kept(self) -> int:
        return sum(len(part) for part in self.hashes)

    def keep(self, rows: NDArray[Any], chains: NDArray[np.uint32], *, all_rows: bool) -> None:
        """Keep victims: rows (N,) REQUEST, and the hash chain of each, (N,). all_rows False: only as long as they are
        few; of more, keep only the hashes.
        """
        self.hashes.append(hashes(rows))
        if all_rows or self.kept <= _FEW:
            self.rows.append(rows)
            self.chains.append(chains)


def _find(
    census: Census, meant: Meant, counts: ReleaseCounts, door: AnyDoor | None = None, stop: Stop | None = None
) -> _Found:
    """Find and count the victims; with a door, keep as many as the door takes at a time.

    For many victims, cookies are generated at the same time: by another census from the beginning, or by a dump in
    parallel.
    """
    found, spared, untouched = _Found(named=isinstance(census, NamingCensus)), 0, 0
    left = meant.room(counts.matched)
    most = 0 if door is None else door.most if left is None else min(door.most, left)
    with closing(census.read()) as parts:
        for part in parts:
            found.all += len(part.rows)
            found_here = meant.select(part.rows, part.ages_s, part.is_deferred)
            spared += found_here.spared
            untouched += found_here.untouched
            mask, n = found_here.mask, found_here.count
            if n and door is not None and found.victims < most:
                room = most - found.victims
                found.keep(part.rows[mask][:room], part.chains[mask][:room], all_rows=door.by_rows)
            found.victims += n
            if door is None or stop is None or not found.nameless or min(found.victims, most) <= _FEW:
                continue
            if share := census.share(part):
                door.expect(min(int(found.victims / share), most))
            if (naming := _naming()) is not None:
                break
            found.cookies = cookies.ToAll(kernel_code(meant.filter), stop)
        else:
            counts.spared, counts.untouched = spared, untouched
            counts.interrupted |= census.interrupted
            return found
    return _find(naming, meant, counts, door, stop)


def _naming() -> NamingCensus | None:
    try:
        return programs.naming()
    except HalfopenError:
        return None


def count(census: Census, meant: Meant, counts: ReleaseCounts) -> None:
    """Count what `run` would release."""
    counts.matched = _find(census, meant, counts).victims


def run(kill: socket, census: Census, door: AnyDoor, meant: Meant, counts: ReleaseCounts, stop: Stop) -> None:
    """Release the connections that are selected at this moment."""
    begun = time.monotonic()
    left_at_first = 0
    rounds = 0
    while rounds < MAX_ROUNDS + left_at_first // door.most:
        found = _find(census, _as_of(meant, begun), counts, door, stop)
        counts.left = found.victims
        if not found.kept or stop.is_set():
            return
        left_at_first = left_at_first or found.victims
        rounds += 1
        counts.held = not counts.windows_s
        with second() as beside:
            counts.left = _round(_Round(kill, census, door, meant, begun, counts, stop, beside), found)
        if not counts.left or stop.is_set():
            return


def _as_of(meant: Meant, begun: float, slack_s: float = 0.0) -> Meant:
    """The selection as of `begun`, without connections that came or reached the age limit later."""
    return meant.older(time.monotonic() - begun - slack_s)


class _Round(Struct, frozen=True):
    kill: socket
    census: Census
    door: AnyDoor
    meant: Meant
    begun: float
    counts: ReleaseCounts
    stop: Stop
    second: Second | None = None


def _round(of: _Round, found: _Found) -> int:
    """Destroy the victims that are still half-open, with the door held. Returns how many are left."""
    counts = of.counts
    few = found.few
    _give_cookies(of, found)
    chains = np.unique(np.concatenate(found.chains)) if few else None
    before, nameless = counts.matched, 0
    whole = True
    with (
        of.door.held(found.hashes, found.rows),
        Destroying(of.kill, of.door, counts, of.stop, of.second) as destroying,
    ):
        meant = _as_of(of.meant, of.begun, _SLACK_S)
        for part in of.census.read(named=True, chains=chains):
            mask = meant.select(part.rows, part.ages_s, part.is_deferred).mask & of.door.holds(part.rows)
            named = part.rows["cookie"] != 0
            nameless += int(np.count_nonzero(mask & ~named))
            if not destroying.take(part.rows[mask & named]):
                whole = False
                break
        whole = whole and destroying.finish()
    counts.interrupted |= of.census.interrupted
    tried = counts.matched - before
    if not whole:
        return max(0, found.victims - tried)
    gone = max(0, found.kept - tried - nameless)
    counts.gone += gone
    counts.matched += gone
    return nameless + found.victims - found.kept


def _give_cookies(of: _Round, found: _Found) -> None:
    if found.few:
        for rows in found.rows:
            cookies.to_each(of.kill, rows)
        return
    if found.nameless:
        found.cookies = cookies.ToAll(kernel_code(of.meant.filter), of.stop)
    if found.cookies is not None:
        found.cookies.finish()
