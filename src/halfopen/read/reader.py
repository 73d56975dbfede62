"""One Sample of one namespace: by eBPF where it may, else by sock_diag, else from /proc/net/tcp, marked as degraded."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.addresses import AF_INET
from halfopen.core.errors import HalfopenError, NotPermitted, Unsupported
from halfopen.core.filters import Filter
from halfopen.core.model.columns import Builder, Columns
from halfopen.core.model.listing import Collected, Listing
from halfopen.core.model.timing import RTO_MAX_S
from halfopen.core.sample import QUEUES, REQUEST, Completeness, ListenerOptions, Process, Sample
from halfopen.core.units import netns_words, plural
from halfopen.core.where import Namespace
from halfopen.linux import identity, netns, proc
from halfopen.linux.netns import Netns
from halfopen.read import procfs, sockdiag, timeouts
from halfopen.read.bpf import programs as eyes
from halfopen.read.owners import Holders
from halfopen.wire import inet_diag

SOURCES: Final = ("bpf", "diag", "proc")


@dataclass(slots=True)
class _Sockets:
    columns: Columns
    requests: NDArray[Any] | None
    listeners: NDArray[Any]
    queues: NDArray[Any] | None
    full: int
    completeness: Completeness
    looked_at: tuple[float, float]
    timeouts: NDArray[Any] | None = None
    depths: bool = False
    collected: Collected | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be read. chosen: leave out what its listeners and sources rule out. rows: keep the requests' rows.

    source: "auto", or one of SOURCES to insist on. depths: the two queues of each listener will do, where they can be
    read and tell the number of half-open connections; the requests are read where not. listing: collect what it lists
    instead of rows and columns, where the kernel says which requests are deferred.
    """

    chosen: Filter | None = None
    rows: bool = True
    source: str = "auto"
    depths: bool = False
    listing: Listing | None = None

    def builder(self, listeners: NDArray[Any]) -> Builder:
        """What collects the requests."""
        return Builder(listeners, RTO_MAX_S, rows=np.empty(0, dtype=REQUEST) if self.rows else None)


def kernel_code(chosen: Filter | None) -> bytes:
    """The part of a filter that the kernel can apply before copying, as inet_diag bytecode."""
    return inet_diag.bytecode(chosen.listeners, chosen.sources) if chosen else b""


def _by_bpf(wish: Wish) -> _Sockets:
    eyes.begin()
    census = eyes.census()
    with sockdiag.open_socket() as s:
        listeners, shaken = sockdiag.listeners(s)
    queues, notes = _queues(listeners, insist=False)
    builder = wish.builder(listeners)
    collected = Collected(wish.listing) if wish.listing else None
    keep = Filter(listeners=wish.chosen.listeners, sources=wish.chosen.sources) if wish.chosen else Filter()
    plain = (listeners["family"] == AF_INET) & (listeners["ifindex"] == 0)
    looked_at = time.monotonic(), time.time()
    # Nobody can be half-open where no segment ever came; the hash that is walked is that of all namespaces.
    parts = census.read(mixed=bool(plain.any() and not plain.all())) if procfs.any_segments() else ()
    for part in parts:
        rows, ages, is_deferred = part.rows, part.ages_s, part.is_deferred
        if not keep.empty:
            mask = keep.mask(rows, ages)
            rows, ages, is_deferred = rows[mask], ages[mask], is_deferred[mask]
        if collected is not None:
            collected.add(rows, ages, is_deferred)
        else:
            builder.add(rows, ages_s=ages, is_deferred=is_deferred)
    interrupted, full = (census.interrupted, census.full) if parts else (False, 0)
    completeness = Completeness("bpf", shaken or interrupted, (), notes)
    columns, kept = builder.take(), builder.take_rows()
    return _Sockets(columns, kept, listeners, queues, full, completeness, looked_at, collected=collected)


def _by_pulse(wish: Wish) -> _Sockets | None:
    """The queues alone; None where they do not tell how many are half-open (deferred ones are in them too)."""
    looked_at = time.monotonic(), time.time()
    with sockdiag.open_socket() as s:
        listeners, shaken = sockdiag.listeners(s)
    queues, _ = _queues(listeners, insist=True)
    if queues is None or not queues["known"].all() or (queues["syn_queue"][queues["defer_accept"] > 0] > 0).any():
        return None
    columns = wish.builder(listeners).take()
    return _Sockets(columns, None, listeners, queues, 0, Completeness("bpf", shaken), looked_at, depths=True)


def _queues(listeners: NDArray[Any], *, insist: bool) -> tuple[NDArray[Any] | None, tuple[str, ...]]:
    """The queues of L listeners as eBPF reads them, (L,) QUEUES; None, and why, where it cannot (insist: raise)."""
    if not len(listeners):
        return np.empty(0, dtype=QUEUES), ()
    try:
        pulse = eyes.pulse().read(len(listeners))
    except HalfopenError as e:
        if insist:
            raise
        return None, (f"SYN queues are counted, not read: {e.message}",)
    queues = np.zeros(len(listeners), dtype=QUEUES)
    order = np.argsort(pulse["cookie"], kind="stable")
    at = np.searchsorted(pulse["cookie"][order], listeners["cookie"])
    at = order[np.minimum(at, len(pulse) - 1)] if len(pulse) else np.zeros(len(listeners), dtype=np.intp)
    if len(pulse):
        met = pulse[at]
        queues["known"] = (met["cookie"] == listeners["cookie"]) & (listeners["cookie"] != 0)
        queues["syn_queue"] = met["qlen"]
        for name in ("young", "syn_retries", "defer_accept"):
            queues[name] = met[name]
    return queues, ()


def _by_diag(wish: Wish) -> _Sockets:
    with sockdiag.open_socket() as s:
        listeners, shaken = sockdiag.listeners(s)
        queues, notes = _queues(listeners, insist=False)
        code = kernel_code(wish.chosen)
        builder = wish.builder(listeners)
        table: timeouts.Table | None = None
        looked_at = time.monotonic(), time.time()
        found = sockdiag.read(s, code, builder.add)
        took_s = time.monotonic() - looked_at[0]
        if timeouts.affordable(len(builder), took_s) and builder.any_retransmitted:
            # Asked before the look that is kept: a timer that runs out in between then shows by its length.
            asked = table = timeouts.read()
            looked_at = time.monotonic(), time.time()
            builder = wish.builder(listeners)
            found = sockdiag.read(s, code, lambda rows: builder.add(rows, timeouts=timeouts.look_up(asked, rows)))
    problems: tuple[str, ...] = ()
    if found.broken:
        problems = (f"{found.broken}: there are more than the {len(builder):,} read until then",)
    completeness = Completeness("diag", found.interrupted or shaken, problems, notes)
    rows = builder.take_rows()
    looked_up = timeouts.look_up(table, rows) if table is not None and rows is not None else None
    return _Sockets(builder.take(), rows, listeners, queues, found.full, completeness, looked_at, looked_up)


def _by_proc(wish: Wish, why: str) -> _Sockets:
    looked_at = time.monotonic(), time.time()
    requests, listeners, full = procfs.sockets()
    builder = wish.builder(listeners)
    builder.add(requests)
    problems = (
        f"{why}: read from /proc/net/tcp instead, where deferred-accept requests look half-open and queue limits, "
        "drops and bound devices are not shown",
    )
    completeness = Completeness("proc", False, problems)
    return _Sockets(builder.take(), builder.take_rows(), listeners, None, full, completeness, looked_at)


def read_sockets(wish: Wish) -> _Sockets:
    """Request sockets and listeners of the calling thread's namespace, by the best source that answers.

    Raises: Unsupported, NotPermitted, KernelError, WireError; of a source that was insisted on.
    """
    if wish.source == "proc":
        return _by_proc(wish, "asked to")
    notes: tuple[str, ...] = ()
    if wish.depths and wish.source in ("auto", "bpf"):
        try:
            found_depths = _by_pulse(wish)
        except HalfopenError:
            found_depths = None  # the whole reading says why
        if found_depths is not None:
            return found_depths
    if wish.source != "diag":
        try:
            return _by_bpf(wish)
        except HalfopenError as e:
            if wish.source == "bpf":
                raise
            notes = (f"ages are worked out from timers: {e.message}{_as_root()}",)
    try:
        found = _by_diag(wish)
    except (Unsupported, NotPermitted) as e:
        if wish.source == "diag":
            raise
        return _by_proc(wish, e.message)
    found.completeness = replace(found.completeness, notes=(*notes, *found.completeness.notes))
    return found


def read(
    ns: Netns | None = None, wish: Wish = Wish(), *, with_owners: bool = True, with_options: bool = False
) -> Sample:
    """Read one Sample of a namespace (None: the process's own).

    With a filter, the request sockets that its listeners and sources rule out are left out and the Sample says
    `filtered`. Without `with_owners` no process is looked for, unless (`with_options`) only the listeners themselves
    tell whether connections are deferred; with neither, never (for cheap repeated readings).

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    sample = _read(ns, wish)
    return _with_owners([sample], names=with_owners)[0] if with_owners or with_options else sample


def _read(ns: Netns | None, wish: Wish) -> Sample:
    def work() -> tuple[Namespace, _Sockets, dict[str, int], dict[str, int]]:
        return identity.of_thread(ns), read_sockets(wish), procfs.counters(), procfs.settings()

    where, sockets, counters, settings = (ns or netns.current()).run(work)
    kept = sockets.completeness
    problems = list(kept.problems)
    if kept.interrupted:
        problems.append("the kernel flagged the dump as interrupted: some connections may be missing or shown twice")
    return Sample(
        where=where,
        requests=np.empty(0, dtype=REQUEST) if sockets.requests is None else sockets.requests,
        columns=sockets.columns,
        timeouts=sockets.timeouts,
        collected=sockets.collected,
        listeners=sockets.listeners,
        queues=sockets.queues,
        full=sockets.full,
        depths=sockets.depths,
        counters=counters,
        settings=settings,
        monotonic_s=sockets.looked_at[0],
        wall_s=sockets.looked_at[1],
        completeness=Completeness(kept.source, kept.interrupted, tuple(problems), kept.notes),
        filtered=bool(wish.chosen and (wish.chosen.listeners or wish.chosen.sources)),
        host=identity.host(),
    )


def _with_owners(samples: list[Sample], *, names: bool) -> list[Sample]:
    """The Samples with what one look through all processes tells of their listeners: owners (names), and options where
    the queues did not tell them as well.
    """
    asking = [s for s in samples if len(s.listeners) and (names or _wants_options(s))]
    if not asking:
        return samples
    from halfopen.read import owners as owners_

    found = owners_.holders(inode for s in asking for inode in s.listeners["inode"].tolist())
    owners = owners_.owners(found) if names else {}
    meant = {id(s) for s in asking}
    return [_told(s, found, owners) if id(s) in meant else s for s in samples]


def _wants_options(sample: Sample) -> bool:
    """Whether connections may be deferred ones for all that eBPF said."""
    columns = sample.columns
    return not _known(sample) and columns is not None and not columns.exact and len(columns.ages_s) > 0


def _known(sample: Sample) -> bool:
    return sample.queues is not None and bool(sample.queues["known"].all())


def _told(sample: Sample, found: Holders, owners: Mapping[int, tuple[Process, ...]]) -> Sample:
    """The Sample with its part of what was found, and with what of it is hidden or was not looked for to the end."""
    inodes = sample.listeners["inode"].tolist()
    missing = len(set(inodes) - found.by_inode.keys())
    notes = list(sample.completeness.notes)
    of = f"{missing} of {plural(len(inodes), 'listener')}"
    if found.broken_off:
        notes.append(
            f"the look for who listens took too long and was broken off: {of} without a name, and other processes may "
            "hold the rest as well"
        )
    elif missing and (found.refused or proc.lacking(("CAP_SYS_PTRACE",))):
        # With hidepid nothing is refused: the processes of others are not there at all.
        notes.append(f"who listens is hidden for {of}{_shown_by(sample)}")
    options: dict[int, ListenerOptions] = {}
    if not _known(sample):
        from halfopen.read import listener_options

        mine = Holders({inode: found.by_inode[inode] for inode in inodes if inode in found.by_inode})
        options, refused = listener_options.options(mine, sample.settings)
        if refused:
            n = plural(refused, "listener")
            notes.append(f"the release time of {n} is taken from tcp_synack_retries{_shown_by(sample)}")
    mine_owners = {inode: owners[inode] for inode in inodes if inode in owners}
    problems = list(sample.completeness.problems)
    if missing and found.broken_off and _wants_options(sample):
        problems.append(
            f"which connections are deferred ones was not looked for to the end: those of {missing} of "
            f"{plural(len(inodes), 'listener')} may be shown as half-open"
        )
    completeness = replace(sample.completeness, problems=tuple(problems), notes=tuple(notes))
    return replace(sample, owners=mine_owners, options=options, completeness=completeness)


def _shown_by(sample: Sample) -> str:
    if os.geteuid() == 0:
        return ""
    return f": run as root to see it (sudo halfopen status{netns_words(sample.where.name)})"


def _as_root() -> str:
    return "" if os.geteuid() == 0 else ": run as root to see it"


def read_all(
    wish: Wish = Wish(), *, with_owners: bool = True, with_options: bool = False
) -> tuple[list[Sample], list[str]]:
    """A Sample of every namespace of the machine, and a line for each that vanished or refused meanwhile."""
    from halfopen.read.discover import discover

    found = discover()
    samples, skipped = [], []
    if found.refused:
        skipped.append(f"the namespaces of {plural(found.refused, 'process', 'processes')} are hidden{_as_root()}")
    if found.passed_over:
        skipped.append(
            f"{plural(found.passed_over, 'process', 'processes')} with very many descriptors not looked through: a "
            "namespace that only one of these holds may be missing"
        )
    for ns in found.namespaces:
        try:
            samples.append(_read(ns, wish))
        except HalfopenError as e:
            skipped.append(f"{ns.name}: skipped: {e.message}")
    if with_owners or with_options:
        samples = _with_owners(samples, names=with_owners)
    return samples, skipped
