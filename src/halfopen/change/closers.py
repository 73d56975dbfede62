"""Changing existing connections from within the kernel's iterator, each under its own lock (bpf/closers.bpf.c)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.policy.connection_actions import KeepaliveOptions
from halfopen.core.sample.growing import Growing
from halfopen.linux.bpf.iterating import PIECE, ROOM, received
from halfopen.linux.bpf.loader import Loaded
from halfopen.linux.bpf.maps import fill_hash
from halfopen.linux.closable import Closable
from halfopen.wire import bpf_records

LEAVE: Final = 0xFFFFFFFF
"""As an option in MEANT: do not change it. As `state` or `unread`: do not check it."""
# How many changes are made per jiffy with `slowly`, for the longest jiffy (HZ = 100).
_A_JIFFY: Final = 500
_JIFFY_S: Final = 0.01


def meant(n: int, options: KeepaliveOptions | None = None) -> NDArray[Any]:
    """Rows (n,) of dtype MEANT with these options and no conditions."""
    rows = np.full(n, LEAVE, dtype="<u4").repeat(len(bpf_records.MEANT.names or ())).view(bpf_records.MEANT)
    if options is not None:
        values = {
            "keepalive": None if options.on is None else int(options.on),
            "idle_s": options.idle_s,
            "interval_s": options.interval_s,
            "probes": options.probes,
            "user_timeout_ms": options.user_timeout_ms,
        }
        for name, value in values.items():
            if value is not None:
                rows[name] = value
    return rows


class Closers(Closable):
    """The loaded programs, with room for that many victims (Linux 6.5). Close it, or use it as a context manager.

    Every method acts on the calling thread's namespace. It returns records (n,) ACTED of the connections that still met
    their conditions, and so were changed, unless it says otherwise.
    """

    way: Final = "bpf"

    def __init__(self, victims: int = 1) -> None:
        """Raises: Unsupported, NotPermitted, KernelError."""
        records = {"acted_record": bpf_records.ACTED, "meant_socket": bpf_records.MEANT}
        self._loaded = Loaded("closers", records, sizes={"victims": max(victims, 1)})
        try:
            self._by_cookie, self._states, self._least_quiet, self._refused = (
                self._loaded.variable(name, "<u4") for name in ("by_cookie", "states", "least_quiet", "refused")
            )
            self._last_errno = self._loaded.variable("last_errno", "<i4")
            self._wanted = self._loaded.variable("wanted", bpf_records.MEANT)
            self._links = {name: self._loaded.attach(name) for name in ("retrofit", "destroy")}
        except BaseException:
            self._loaded.close()
            raise

    def close(self) -> None:
        """Unload the programs."""
        self._loaded.close()

    @property
    def failures(self) -> int:
        """How often the kernel refused to set an option or to destroy a connection."""
        return int(self._refused[0])

    @property
    def errno(self) -> int:
        """The errno of the last refusal."""
        return int(self._last_errno[0])

    def retrofit(
        self, cookies: NDArray[np.uint64], rows: NDArray[Any], states: int, *, slowly: bool = False
    ) -> NDArray[Any]:
        """Set the options of rows (K,) MEANT on the connections with these cookies (K,). slowly: with pauses, if the
        probes leave at once: per jiffy half as many as a CPU's queue for loopback and veth holds (netdev_max_backlog).

        Raises: KernelError.
        """
        return self._act("retrofit", cookies, rows, states, 0, slowly=slowly)

    def retrofit_all(
        self, options: KeepaliveOptions, states: int, least_quiet: int
    ) -> Generator[memoryview, None, None]:
        """Set options on every connection in these states (one bit each) that has been quiet for this many jiffies.
        Yields the records ACTED of the changed connections, as bytes, in pieces that the next one overwrites. A caller
        that stops iterating leaves the remaining connections unchanged.

        Raises: KernelError.
        """
        self._by_cookie[0] = 0
        self._wanted[0] = meant(1, options)[0]
        # What is not yet in the record when halfopen is killed cannot be undone: a piece is written as it comes.
        yield from self._pieces("retrofit", states, least_quiet, most=PIECE)

    def destroy(self, cookies: NDArray[np.uint64], rows: NDArray[Any], states: int, least_quiet: int) -> NDArray[Any]:
        """End the connections with these cookies (K,) that are still as the rows (K,) MEANT say, and have been quiet
        for that many jiffies. Raises: KernelError; ValueError for one without a cookie.
        """
        if not cookies.all():
            raise ValueError("a connection without a cookie is never destroyed")
        return self._act("destroy", cookies, rows, states, least_quiet)

    def _act(
        self,
        program: str,
        cookies: NDArray[np.uint64],
        rows: NDArray[Any],
        states: int,
        least_quiet: int,
        *,
        slowly: bool = False,
    ) -> NDArray[Any]:
        fill_hash(self._loaded.map_fd("victims"), cookies, rows, what="connections")
        self._by_cookie[0] = 1
        return self._run(program, states, least_quiet, slowly=slowly)

    def _run(self, program: str, states: int, least_quiet: int, *, slowly: bool = False) -> NDArray[Any]:
        acted = Growing(bpf_records.ACTED)
        for piece in self._pieces(program, states, least_quiet, slowly=slowly):
            acted.add(np.frombuffer(piece, dtype=bpf_records.ACTED))
        return acted.take()

    def _pieces(
        self, program: str, states: int, least_quiet: int, *, slowly: bool = False, most: int = ROOM
    ) -> Generator[memoryview, None, None]:
        self._states[0], self._least_quiet[0] = states, least_quiet
        fd = self._loaded.iterate(self._links[program])
        try:
            piece, pause_s = (_A_JIFFY * bpf_records.ACTED.itemsize, _JIFFY_S) if slowly else (PIECE, 0.0)
            yield from received(fd, "closers", piece, pause_s, most)
        finally:
            os.close(fd)
