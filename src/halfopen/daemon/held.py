"""Releasing with the door held: no victim can finish its handshake between the look and the destroy.

First the victims are found by a census (exact ages, deferred ones known). Then the door is held for them, and from
there on none of them can complete. A second look, a dump, shows which of them are still half-open, with the cookies
that name them; those are destroyed, and the door is opened again. Who had completed before shows as a full socket,
which the dump leaves out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from socket import socket
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.act import destroy
from halfopen.core.errors import HalfopenError
from halfopen.core.filters import Filter
from halfopen.core.sample import REQUEST
from halfopen.daemon.tally import Tally, slices
from halfopen.kernel.bpf.census import Census
from halfopen.kernel.bpf.door import CAPACITY, Door, keys
from halfopen.kernel.reader import kernel_code

# Under a flood every round finds new ones, so there is an end to rounds beyond those a full door needs.
MAX_ROUNDS: Final = 5
# Destroying shortens the hash chains the dump is walking, so it may step over a few: so many are asked for one by one,
# for more the dump is repeated, so often.
_ONE_BY_ONE: Final = 2048
_DUMPS: Final = 3
_NO_COOKIE: Final = 0xFFFFFFFFFFFFFFFF


class CannotHold(HalfopenError):
    """The door cannot be held here; nothing was done yet."""

    def __init__(self, why: HalfopenError) -> None:
        super().__init__("cannot-hold", why.message, exit_code=why.exit_code, hint=why.hint)


def _victims(census: Census, chosen: Filter, tally: Tally, most: int | None) -> tuple[NDArray[Any], int]:
    """The half-open requests the filter lets through, at most `most` of their rows (None: none), and their number."""
    found = spared = 0
    parts: list[NDArray[Any]] = []
    for part in census.read():
        meant = chosen.mask(part.rows, part.ages_s)
        spared += int(np.count_nonzero(meant & part.is_deferred))
        meant &= ~part.is_deferred
        n = int(np.count_nonzero(meant))
        if most is not None and n and found < most:
            parts.append(part.rows[meant][: most - found])
        found += n
    tally.spared = spared
    return np.concatenate(parts, dtype=REQUEST) if parts else np.empty(0, dtype=REQUEST), found


def count(census: Census, chosen: Filter, tally: Tally) -> None:
    """Count what `run` would release."""
    _, tally.matched = _victims(census, chosen, tally, None)


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
        rows = self._victims[self._order[~self.met]]
        rows["cookie"] = _NO_COOKIE
        return rows


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
    try:
        door = Door(capacity)
    except HalfopenError as e:
        raise CannotHold(e) from e
    with door:
        yield door


def run(kill: socket, census: Census, chosen: Filter, tally: Tally, stop: threading.Event) -> None:
    """Release what the filter lets through, round after round. Raises: CannotHold before anything was done."""
    begun = time.monotonic()
    victims, found = _victims(census, chosen, tally, CAPACITY)
    if not found:
        return
    code = kernel_code(chosen)
    with _door(min(found, CAPACITY)) as door:
        tally.held = True
        for _ in range(MAX_ROUNDS + found // CAPACITY):
            held = _Held(victims[: door.capacity])
            door.hold(held.keys)
            _release(kill, held, code, tally, stop)
            if stop.is_set():
                break
            victims, found = _victims(census, _as_of(chosen, begun), tally, CAPACITY)
            if not found:
                return
            door.let_go(held.keys)
    _, tally.left = _victims(census, _as_of(chosen, begun), tally, None)


def _as_of(chosen: Filter, begun: float) -> Filter:
    """The filter as it was meant at `begun`: who turned old enough only since then is not meant, or there is no end."""
    if chosen.older_than_s is None:
        return chosen
    return replace(chosen, older_than_s=chosen.older_than_s + time.monotonic() - begun)


def _release(kill: socket, held: _Held, code: bytes, tally: Tally, stop: threading.Event) -> None:
    """Destroy those of the held ones that are half-open still."""
    tally.matched += len(held.keys)
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
    for start in range(0, len(rest), destroy.BATCH):
        batch = rest[start : start + destroy.BATCH]
        still = destroy.look_again(kill, batch)
        tally.gone += len(batch) - len(still)
        if len(still):
            tally.destroy(kill, still)
