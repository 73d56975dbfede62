"""The two doors behind one interface: while a door is held for connections, none of them can finish its handshake.

The first is an eBPF program on the root of the cgroup tree (`change.door`). Where eBPF is refused or that root is not
visible, as in a container, nf_tables is used (`change.nft_door`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from socket import socket
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from halfopen.change import nft_door
from halfopen.change.door import USUAL, Door, barrier, hashes
from halfopen.core.errors import CannotHold, HalfopenError, NotPermitted, Unsupported
from halfopen.core.sample import REQUEST
from halfopen.linux.bpf import kept
from halfopen.ops.release.counts import ReleaseCounts
from halfopen.ops.release.steady import steady

# More connections than any kernel has.
_ANY: Final = 2**62
# If memory is short, a door this much smaller is used: it stops more other connections, but misses no held one.
_SMALLEST: Final = 32
# How many times more connections than estimated a preloaded door may be used for.
_ROUGHLY: Final = 1.125
# Namespaces in which a table could be made, so that a watch does not test it at every reading.
_proven: Final[set[int]] = set()


class AnyDoor(Protocol):
    """A door. most: how many connections it can be held for at a time. by_rows: it is held by rows, not by hashes."""

    most: int
    by_rows: bool

    def expect(self, count: int) -> None:
        """Prepare for about `count` connections, while the caller does other work."""

    def close(self) -> None:
        """Release what was prepared and not used."""

    def held(self, known: Sequence[NDArray[np.uint64]], rows: Sequence[NDArray[Any]]) -> Any:
        """A context in which it is held for connections. known: their `hashes`, arrays (n,); rows: (n,) REQUEST each,
        for a door that is held by_rows.

        When the context begins, packets that passed before have been processed. Raises: HalfopenError.
        """

    def holds(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of N requests (dtype REQUEST) the door is held for now, (N,)."""

    def keep(self) -> bool:
        """Prolong the hold. False: the door may have opened since the last call, so connections may have completed."""

    def opened(self) -> bool:
        """Whether the door has opened, or may have."""


class ByCgroup:
    """The door by eBPF: for any number of connections, as long as `keep` is called."""

    most = _ANY
    by_rows = False

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._door: Door | None = None
        self._ahead: _Ahead | None = None
        kept.get(Door)

    def expect(self, count: int) -> None:
        """As `AnyDoor.expect`."""
        if self._ahead is None and count > USUAL:
            with suppress(RuntimeError):  # no thread could be started: the door is loaded when it is held
                self._ahead = _Ahead(count)

    def close(self) -> None:
        """As `AnyDoor.close`."""
        if self._ahead is not None:
            self._ahead.take(_ANY)
            self._ahead = None

    @contextmanager
    def held(self, known: Sequence[NDArray[np.uint64]], rows: Sequence[NDArray[Any]]) -> Iterator[None]:
        """As `AnyDoor.held`."""
        count = sum(len(part) for part in known)
        ahead, self._ahead = self._ahead, None
        with _door(count, ahead.take(count) if ahead is not None else None) as door, door.held(*known):
            self._door = door
            try:
                yield
            finally:
                self._door = None

    def holds(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """As `AnyDoor.holds`."""
        return np.zeros(len(rows), dtype=bool) if self._door is None else self._door.holds(hashes(rows))

    def keep(self) -> bool:
        """As `AnyDoor.keep`."""
        return self._door is not None and self._door.keep()

    def opened(self) -> bool:
        """As `AnyDoor.opened`."""
        return self._door is None or self._door.opened()


class _Ahead(threading.Thread):
    """Loads a large door."""

    # Not a daemon thread: if the interpreter ended while it is in libbpf, it would return to freed memory.
    def __init__(self, count: int) -> None:
        """Raises: RuntimeError if no thread can be started."""
        super().__init__(name="halfopen-door")
        self._count = count
        self._made: Door | None = None
        self.start()

    def run(self) -> None:
        with suppress(HalfopenError, MemoryError):  # the error is raised when the door is loaded again
            self._made = _large(self._count)

    def take(self, count: int) -> Door | None:
        """The door, if it was loaded and is large enough; otherwise it is closed."""
        self.join()
        made, self._made = self._made, None
        if made is None or USUAL < count <= made.capacity * _ROUGHLY:
            return made
        made.close()
        return None


@contextmanager
def _door(capacity: int, large: Door | None = None) -> Iterator[Door]:
    """A door for `capacity` connections: the one that is kept, or a larger one, which is unloaded after its use."""
    if capacity <= USUAL:
        yield kept.get(Door)
        return
    with large or _large(capacity) as door:
        yield door


def _large(capacity: int) -> Door:
    less = 1
    while True:
        try:
            return Door(capacity // less)
        except HalfopenError as e:
            if less == _SMALLEST or isinstance(e, Unsupported | NotPermitted):
                raise
            less *= 2


class ByTable:
    """The door by nf_tables: for some ten thousand connections, and for three seconds."""

    most = nft_door.MOST
    by_rows = True

    def __init__(self) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        self._door = nft_door.NftDoor()
        self._known = np.empty(0, dtype=np.uint64)
        here = os.stat("/proc/thread-self/ns/net").st_ino
        if here not in _proven or nft_door.refused():
            # A real one, without connections.
            nft_door.try_out()
            _proven.add(here)
        barrier()

    def expect(self, count: int) -> None:
        """As `AnyDoor.expect`: nothing to prepare, as a table is quickly made."""

    def close(self) -> None:
        """As `AnyDoor.close`."""

    @contextmanager
    def held(self, known: Sequence[NDArray[np.uint64]], rows: Sequence[NDArray[Any]]) -> Iterator[None]:
        """As `AnyDoor.held`."""
        meant = np.concatenate(rows, dtype=REQUEST)
        with self._door.held(meant):
            barrier()
            self._known = np.sort(hashes(meant))
            yield

    def holds(self, rows: NDArray[Any]) -> NDArray[np.bool_]:
        """As `AnyDoor.holds`."""
        if not len(self._known):
            return np.zeros(len(rows), dtype=bool)
        theirs = hashes(rows)
        at = np.minimum(np.searchsorted(self._known, theirs), len(self._known) - 1)
        is_held: NDArray[np.bool_] = self._known[at] == theirs
        return is_held

    def keep(self) -> bool:
        """As `AnyDoor.keep`."""
        return self._door.keep()

    def opened(self) -> bool:
        """As `AnyDoor.opened`."""
        return self._door.opened()


def destroy(door: AnyDoor, kill: socket, victims: NDArray[Any], counts: ReleaseCounts, gone: int = 0) -> bool:
    """Destroy at most a batch of connections the door is held for, and count them with the `gone` of the batch; False,
    and nothing done, when it may have opened.

    A stop that cannot be put off (SIGSTOP, a frozen container) may still come in between: then that is told.
    """
    with steady:
        asked = time.monotonic()
        if not door.keep():
            return False
        counts.gone += gone
        counts.matched += gone + len(victims)
        counts.destroy(kill, victims)
        if len(victims) and door.opened():
            counts.held = False
            counts.windows_s.append(time.monotonic() - asked)
            counts.problems.append(
                f"halfopen was stopped while it released: of {len(victims):,} connections, those that completed "
                "meanwhile may have been reset"
            )
    return True


def door() -> AnyDoor:
    """The best door in the calling thread's namespace. Raises: CannotHold, with the reason against the eBPF door."""
    try:
        return ByCgroup()
    except HalfopenError as why:
        try:
            return ByTable()
        except HalfopenError:
            raise CannotHold(why) from None
