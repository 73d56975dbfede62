"""The probe of request sockets: by eBPF if possible, else by sock_diag, else from /proc/net/tcp (degraded)."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET
from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.filters import Filter
from halfopen.core.sample import REQUEST, Requests
from halfopen.core.sample.requests import Rows, Taker
from halfopen.linux.sockets import open_sock_diag
from halfopen.read import head, sockdiag, timeouts
from halfopen.read.bpf import programs
from halfopen.read.probe import Draft, Probe, as_root
from halfopen.wire import inet_diag

# How many expected requests the arrays are sized for: fewer are not worth it, and beyond the most they grow as needed.
_MANY: Final = 20_000
_MOST_EXPECTED: Final = 4_000_000


def probe(*takers: Taker, chosen: Filter | None = None, rows: bool = False) -> Probe:
    """The probe that hands the requests to every taker. rows: the part holds all of them as well.

    chosen: leave out requests that the listeners and sources of this filter exclude.
    """
    kept = Rows() if rows else None
    reading = _Reading((*takers, kept) if kept is not None else takers, kept, chosen)
    needs = ("bpf:walk", "bpf:census", "sock_diag", "proc_net_tcp")
    return Probe("request sockets", needs, reading.read, vital=True, prepare=_prepare)


def kernel_code(chosen: Filter | None) -> bytes:
    """The part of a filter that the kernel can apply before copying, as inet_diag bytecode."""
    return inet_diag.bytecode(chosen.listeners, chosen.sources) if chosen else b""


def _prepare(way: str) -> None:
    if way in ("auto", "bpf"):
        programs.begin()


def _expected(queues: NDArray[Any] | None) -> int:
    """About how many request sockets there are: a few more than the queues held a moment ago. 0: too few to matter."""
    held = 0 if queues is None else int(queues["qlen"].sum(dtype=np.int64))
    return min(held + held // 64, _MOST_EXPECTED) if held > _MANY else 0


class _Reading:
    """One reading: `count` request sockets went to the takers since the last `begin`."""

    def __init__(self, takers: tuple[Taker, ...], kept: Rows | None, chosen: Filter | None) -> None:
        self._takers, self._kept, self._chosen = takers, kept, chosen
        self._code = kernel_code(chosen)
        self._count = 0
        self._began = 0.0
        self._any_retransmitted = False

    def read(self, draft: Draft) -> Requests:
        """Read by the best way that works, of the requested ones. Raises: as that way."""
        part = self._read(draft)
        return replace(part, took_s=time.monotonic() - self._began)

    def _read(self, draft: Draft) -> Requests:
        if draft.source == "proc":
            return self._by_proc(draft)
        if draft.way != "diag":
            try:
                return self._by_bpf(draft)
            except HalfopenError as e:
                if draft.way == "bpf":
                    raise
                draft.notes.insert(0, f"ages are estimated from timers: {e.message}{as_root()}")
        try:
            return self._by_diag(draft)
        except (Unsupported, NotPermitted) as e:
            if draft.way == "diag":
                raise
            draft.become(head.from_proc(draft.way, e.message))
            return self._by_proc(draft)

    def _begin(self, draft: Draft, looked_at: tuple[float, float] | None = None) -> None:
        self._began = time.monotonic()
        draft.looked_at = looked_at or (self._began, time.time())
        self._count, self._any_retransmitted = 0, False
        expected = _expected(draft.queues) if not self._code else 0
        for taker in self._takers:
            taker.begin(draft.listeners, expected)

    def _add(self, rows: NDArray[Any], **beside: NDArray[Any] | None) -> None:
        self._count += len(rows)
        for taker in self._takers:
            taker.add(rows, **beside)

    def _part(self, full: int) -> Requests:
        if self._kept is None:
            return Requests(count=self._count, full=full)
        return self._kept.take(full)

    def _by_bpf(self, draft: Draft) -> Requests:
        census = programs.census()
        rows = draft.listeners
        plain = (rows["family"] == AF_INET) & (rows["ifindex"] == 0)
        keep = self._chosen.endpoints if self._chosen is not None else Filter()
        self._begin(draft)
        # Without a segment received there is nothing half-open, and the walk would go through the hash of all
        # namespaces.
        walked = draft.ever_reached
        for part in census.read(mixed=bool(plain.any() and not plain.all())) if walked else ():
            found, ages_s, acked = part.rows, part.ages_s, part.is_deferred
            if not keep.empty:
                mask = keep.mask(found, ages_s)
                found, ages_s, acked = found[mask], ages_s[mask], acked[mask]
            self._add(found, ages_s=ages_s, acked=acked)
        draft.source = "bpf"
        draft.interrupted |= walked and census.interrupted
        return self._part(census.full if walked else 0)

    def _by_diag(self, draft: Draft) -> Requests:
        with open_sock_diag() as s:
            self._begin(draft)
            found = sockdiag.read(s, self._code, self._add_and_note)
            took_s = time.monotonic() - draft.looked_at[0]
            if timeouts.affordable(self._count, took_s) and self._any_retransmitted:
                # Timeouts before requests: a timer that runs out in between can then be recognised by its length.
                asked = timeouts.read()
                self._begin(draft)
                found = sockdiag.read(
                    s, self._code, lambda rows: self._add(rows, timeouts=timeouts.look_up(asked, rows))
                )
        if found.broken:
            draft.problems.append(f"{found.broken}: there are more than the {self._count:,} read until then")
        draft.source = "diag"
        draft.interrupted |= found.interrupted
        return self._part(found.full)

    def _add_and_note(self, rows: NDArray[Any]) -> None:
        # With more requests than this, timeouts are not read.
        if self._count <= timeouts.MAX_REQUESTS and not self._any_retransmitted:
            self._any_retransmitted = bool(rows["retransmits"].any())
        self._add(rows)

    def _by_proc(self, draft: Draft) -> Requests:
        rows, full = draft.table or (np.empty(0, dtype=REQUEST), 0)
        draft.table = None
        self._begin(draft, draft.looked_at)
        self._add(rows)
        return self._part(full)
