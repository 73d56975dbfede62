"""Releasing with the door held: no victim can finish its handshake between the look and the destroy.

First the victims are found by a census (exact ages, deferred ones known). Then the door is held for them, and from
there on none of them can complete. A second look shows which of them are still half-open, with the cookies that name
them: few are asked for one by one, many are found in a dump. Those are destroyed, and the door is opened again. Who had
completed before shows as a full socket, which the second look leaves out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from socket import socket
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.act import destroy
from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.sample import REQUEST
from halfopen.daemon.tally import Tally, slices
from halfopen.kernel.bpf import eyes
from halfopen.kernel.bpf.census import Census
from halfopen.kernel.bpf.door import CAPACITY, Door, keys
from halfopen.kernel.reader import kernel_code

# Under a flood every round finds new ones, so there is an end to rounds beyond those a full door needs.
MAX_ROUNDS: Final = 5
# Destroying shortens the hash chains the dump is walking, so it may step over a few: so many are asked for one by one,
# for more the dump is repeated, so often.
_ONE_BY_ONE: Final = 2048
_DUMPS: Final = 3
# Asking for one connection takes as long as so many of a dump.
_ONE_OF: Final = 6


class CannotHold(HalfopenError):
    """The door cannot be held here; nothing was done yet."""

    def __init__(self, why: HalfopenError) -> None:
        super().__init__("cannot-hold", why.message, exit_code=why.exit_code, hint=why.hint)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """What a census found: rows of victims (V,) REQUEST, how many there are (or more), and how many requests in all."""

    rows: NDArray[Any]
    victims: int
    all: int


def _victims(census: Census, chosen: Filter, tally: Tally, most: int) -> _Found:
    """The half-open requests the filter lets through, at most `most` of their rows."""
    found = spared = everything = 0
    parts: list[NDArray[Any]] = []
    for part in census.read():
        everything += len(part.rows)
        meant = chosen.mask(part.rows, part.ages_s)
        spared += int(np.count_nonzero(meant & part.is_deferred))
        meant &= ~part.is_deferred
        n = int(np.count_nonzero(meant))
        if n and found < most:
            parts.append(part.rows[meant][: most - found])
        found += n
    tally.spared = spared
    tally.interrupted |= census.interrupted
    return _Found(np.concatenate(parts, dtype=REQUEST) if parts else np.empty(0, dtype=REQUEST), found, everything)


def count(census: Census, chosen: Filter, tally: Tally) -> None:
    """Count what `run` would release."""
    tally.matched = _victims(census, chosen, tally, 0).victims


class _Held:
    """The connections the door is held for, and which of them were met again."""

    def __init__(self, victims: NDArray[Any]) -> None:
        found = keys(victims)
        hashes = _hashes(found)
        self._order = np.argsort(hashes)
        self.keys, self._hashes = found[self._order], hashes[self._order]
        self._victims, self._retransmits = victims, victims["retransmits"][self._order]
        self.met = np.zeros(len(victims), dtype=bool)

    def among(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Those of n requests (dtype REQUEST) that are held and were not met yet; they are met now.

        One that is younger than the one that was held (the same client, again) has fewer retransmissions.
        """
        theirs = keys(rows)
        at = np.minimum(np.searchsorted(self._hashes, _hashes(theirs)), len(self.met) - 1)
        same = (self.keys[at] == theirs) & ~self.met[at]
        same &= rows["retransmits"] >= self._retransmits[at]
        self.met[at[same]] = True
        return rows if same.all() else rows[same]

    def missing(self) -> NDArray[Any]:
        """Those not met yet, by address alone."""
        return by_address(self._victims[self._order[~self.met]])


def by_address(rows: NDArray[Any]) -> NDArray[Any]:
    """A copy of requests without their cookies: whichever request there is between these addresses and ports."""
    copy = rows.copy()
    copy["cookie"] = destroy.NO_COOKIE
    return copy


def _hashes(found: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for each of N keys (dtype `DOOR_KEY`), the same for the same key."""
    odd = np.uint64(0x9E3779B97F4A7C15)
    mixed = np.zeros(len(found), dtype=np.uint64)
    ports = found["remote_port"].astype(np.uint64) << np.uint64(16) | found["local_port"].astype(np.uint64)
    for part in (found["remote_high"], found["remote_low"], found["local_high"], found["local_low"], ports):
        mixed ^= part.astype(np.uint64)
        mixed *= odd
        mixed ^= mixed >> np.uint64(29)
    return mixed


@contextmanager
def _door(capacity: int) -> Iterator[Door]:
    with ExitStack() as stack:
        try:
            door = stack.enter_context(eyes.door(capacity))
        except HalfopenError as e:
            raise CannotHold(e) from e
        yield door


def run(kill: socket, census: Census, chosen: Filter, tally: Tally, stop: threading.Event) -> None:
    """Release what the filter lets through, round after round. Raises: CannotHold before anything was done."""
    begun = time.monotonic()
    found = _victims(census, chosen, tally, CAPACITY)
    if not found.victims:
        return
    code = kernel_code(chosen)
    with _door(min(found.victims, CAPACITY)) as door:
        tally.held = True
        for _ in range(MAX_ROUNDS + found.victims // CAPACITY):
            victims = found.rows[: door.capacity]
            tally.matched += len(victims)
            with door.held(keys(victims)):
                if len(victims) * _ONE_OF < found.all:
                    _release_few(kill, victims, tally, stop)
                else:
                    _release_many(kill, victims, code, tally, stop)
            if stop.is_set():
                break
            found = _victims(census, _as_of(chosen, begun), tally, CAPACITY)
            if not found.victims:
                return
    tally.left = _victims(census, _as_of(chosen, begun), tally, 0).victims


def _as_of(chosen: Filter, begun: float) -> Filter:
    """The filter as it was meant at `begun`: who turned old enough only since then is not meant, or there is no end."""
    if chosen.older_than_s is None:
        return chosen
    return replace(chosen, older_than_s=chosen.older_than_s + time.monotonic() - begun)


def _release_few(kill: socket, victims: NDArray[Any], tally: Tally, stop: threading.Event) -> None:
    """Destroy those of the held ones that are half-open still, asking for each."""
    for start in range(0, len(victims), destroy.BATCH):
        if stop.is_set():
            tally.matched -= len(victims) - start
            return
        batch = victims[start : start + destroy.BATCH]
        still = destroy.look_again(kill, by_address(batch))
        # A younger one between the same addresses (the client began anew before the door was held) is not meant.
        still = _Held(batch).among(still)
        tally.gone += len(batch) - len(still)
        tally.destroy(kill, still)


def _release_many(kill: socket, victims: NDArray[Any], code: bytes, tally: Tally, stop: threading.Event) -> None:
    """Destroy those of the held ones that are half-open still, as a dump meets them."""
    held = _Held(victims)
    for _ in range(_DUMPS):
        # In long stretches: with the door held it does not matter how old a look is.
        for _, rows in slices(code, tally, stretch=None):
            if stop.is_set():
                break
            mine = held.among(rows)
            if len(mine):
                tally.destroy(kill, mine)
        if stop.is_set() or np.count_nonzero(~held.met) <= _ONE_BY_ONE:
            break
    rest = held.missing()
    if stop.is_set():
        tally.matched -= len(rest)
        return
    _release_few(kill, rest, tally, stop)
