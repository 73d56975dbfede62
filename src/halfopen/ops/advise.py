"""Watches the handshakes and queues of a namespace for a while, and advises what its listeners need."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Final

from halfopen.change import audit
from halfopen.core.advice.advice import AdviceGiven, ListenerAdvice, ListenerWatched, advise
from halfopen.core.advice.choices import finished_by_prefix, rests_on
from halfopen.core.advice.depths import Depth
from halfopen.core.errors import DAMAGED, HalfopenError, UnknownTarget
from halfopen.core.filters import Filter
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.lasting import since_s
from halfopen.core.model import join, timing
from halfopen.core.model.columns import Builder
from halfopen.core.model.handshakes import Handshakes, Observed, collect
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.sample import Sample
from halfopen.core.sample.arrivals import Arrivals
from halfopen.core.where import ListenerKey
from halfopen.linux import small_files
from halfopen.linux.netns import Netns, current
from halfopen.ops.handshakes import observe
from halfopen.read import reader, requests, synack_timer
from halfopen.read.bpf.arrivals import ArrivalPrograms

# Between two readings of the queues' depths, each of which takes about a millisecond.
EVERY_S: Final = 0.25
# How much of the end of the audit log is searched for releases.
_AUDIT_BYTES: Final = 4 << 20


class DepthReadings:
    """Reads the depths of all queues of a namespace during a wait."""

    def __init__(self, ns: Netns, stop: threading.Event, way: str) -> None:
        self._ns, self._stop, self._way = ns, stop, way
        self.by_listener: dict[ListenerKey, list[Depth]] = {}
        # When each listening socket was first seen (monotonic), by its cookie.
        self.first_s: dict[int, float] = {}

    def wait(self, seconds: float) -> bool:
        """Read for that many seconds; returns whether `stop` ended that early. Raises: as `reader.read`."""
        until = time.monotonic() + seconds
        while not self._stop.is_set():
            self._read()
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._stop.wait(min(EVERY_S, left))
        return True

    def _read(self) -> None:
        now = Evidence(build(reader.read(self._ns, way=self._way, with_owners=False)))
        for cookie in now.now.sample.listeners["cookie"].tolist():
            self.first_s.setdefault(cookie, now.now.sample.monotonic_s)
        for view in now.now.views:
            full = view.accept_queue > 0 and any(queue.nearly_full for queue in now.accept_queues(view))
            depth = Depth(time.monotonic(), view.syn_queue, view.syn_queue_young, view.accept_queue, full)
            self.by_listener.setdefault(view.key, []).append(depth)


class SourceCounts:
    """Counts finished handshakes by source, where the kernel accepts the program."""

    def __init__(self, inode: int) -> None:
        self._inode = inode
        self._programs: ArrivalPrograms | None = None
        try:
            self._programs = ArrivalPrograms(inode)
        except HalfopenError:
            pass

    def __enter__(self) -> SourceCounts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._programs is not None:
            self._programs.close()

    def read(self) -> Arrivals | None:
        """What was counted; None where the program could not be loaded."""
        return None if self._programs is None else self._programs.read(self._inode)


def advise_on(
    ns: Netns | None, seconds: float, filter: Filter, stop: threading.Event, *, way: str = "auto"
) -> AdviceGiven:
    """Advice on the listeners that a filter selects in a namespace (None: this process's), after watching for `seconds`
    or until `stop` is set.

    Raises: Unsupported, NotPermitted, KernelError, UnknownTarget.
    """
    target = ns or current()
    before = _read(target, way)
    if filter.listeners and not only(before, filter).listeners:
        raise UnknownTarget(f"nothing listens {filter.describe()}", hint="halfopen status lists the listeners")
    readings = DepthReadings(target, stop, way)
    with SourceCounts(target.inode) as sources:
        seen = observe(target, seconds, filter, stop, wait=readings.wait)
        arrived = sources.read()
    now = only(_read(target, way, before.sample), filter)
    capped = synack_timer.capped()
    watched = list(_watched(now, before, seen, readings, _waits_s(now, capped), arrived))
    busy = [one for one in watched if _is_busy(one)]
    settings = now.sample.settings
    advice = [advise(one, target.name, settings) for one in busy]
    counters, earlier = now.sample.counters, before.sample.counters
    return AdviceGiven(
        where=now.sample.where,
        host=seen.host,
        time=seen.time,
        seconds=seen.seconds,
        listeners=tuple(sorted(advice, key=_busiest)),
        settings=settings,
        cookies_sent=counters.get("SyncookiesSent", 0) - earlier.get("SyncookiesSent", 0),
        cookies_back=counters.get("SyncookiesRecv", 0) - earlier.get("SyncookiesRecv", 0),
        interrupted=seen.interrupted,
        capped=capped,
        missing=(*seen.missing, *now.sample.completeness.problems),
        quiet=len(watched) - len(busy),
        released=released_since(seen.time, target.inode),
        gone=_gone(seen, now),
        opened=tuple((one.view, one.opened_s) for one in watched if one.opened_s is not None),
    )


def _gone(seen: Observed, now: Model) -> int:
    """How many handshakes finished at listeners that no longer exist."""
    [namespace], there = seen.namespaces, {view.key for view in now.views}
    keys = ((one, (one.family, one.address, one.port, one.ifindex)) for one in namespace.listeners)
    return sum(one.handshakes.completed for one, key in keys if key not in there)


def _busiest(one: ListenerAdvice) -> tuple[int, int]:
    return -one.seen.handshakes.completed, one.seen.view.port


def _is_busy(one: ListenerWatched) -> bool:
    return bool(one.handshakes.completed or one.view.held or any(depth.accept_queue for depth in one.depths))


def _read(ns: Netns, way: str, before: Sample | None = None) -> Model:
    builder = Builder()
    read = reader.read(ns, [requests.probe(builder)], way=way)
    return build(read, before, columns=builder.take())


def _watched(
    now: Model,
    before: Model,
    seen: Observed,
    readings: DepthReadings,
    waits_s: dict[ListenerKey, float],
    arrived: Arrivals | None,
) -> Iterator[ListenerWatched]:
    [namespace] = seen.namespaces
    shakes = {(one.family, one.address, one.port, one.ifindex): one.handshakes for one in namespace.listeners}
    meant = {view.key for view in now.listeners}
    drops = {view.key: view.drops for view in before.views}
    overflows, ignored = (_gained(name, now, before) for name in ("ListenOverflows", "TCPDeferAcceptDrop"))
    earlier, groups = set(before.sample.listeners["cookie"].tolist()), join.groups(now.sample.listeners)
    for i, view in enumerate(now.views):
        if view.key in meant:
            rows = now.sample.listeners[list(groups[i].rows)]
            opened_s = _opened_s(now, rows["cookie"].tolist(), earlier, readings)
            # A socket opened meanwhile began with no drops.
            dropped = view.drops if opened_s is not None else view.drops - drops.get(view.key, view.drops)
            yield ListenerWatched(
                view=view,
                handshakes=shakes.get(view.key) or _none(seen.seconds),
                depths=readings.by_listener.get(view.key, []),
                rests=None if arrived is None else rests_on(finished_by_prefix(arrived.sources, view.port)),
                unanswered_per_s=unanswered_per_s(now, i, seen.seconds),
                rto_max_s=waits_s.get(view.key, timing.RTO_MAX_S),
                # sk_drops of a listener counts more than overflows, such as the ACKs that TCP_DEFER_ACCEPT ignores.
                overflows=max(0, min(dropped - (0 if view.defers is False else ignored), overflows)),
                backlogs=rows["accept_queue_limit"].tolist(),
                opened_s=opened_s,
            )


def _gained(name: str, now: Model, before: Model) -> int:
    return now.sample.counters.get(name, 0) - before.sample.counters.get(name, 0)


def _opened_s(now: Model, cookies: list[int], earlier: set[int], readings: DepthReadings) -> float | None:
    """How long ago the oldest of the sockets with these cookies was opened; None where one was there before."""
    if not all(cookies) or earlier & set(cookies):
        return None
    now_s = now.sample.monotonic_s
    return max(now_s - readings.first_s.get(cookie, now_s) for cookie in cookies)


def unanswered_per_s(model: Model, at: int, seconds: float) -> float:
    """How many connections a second come to a listener and stay unanswered. at: its place in the Model's views.

    Counted by age, among those of the last `seconds`: older ones say nothing of the present rate, the youngest may
    still finish, and none is older than the release time.
    """
    columns, view = model.columns, model.views[at]
    since = since_s(model)
    span = min(seconds, view.effective_release_time_s) - since
    if columns is None or span <= 0:
        return 0.0
    ages = columns.ages_s[(columns.group_of == at) & ~model.is_deferred]
    return float(((ages >= since) & (ages < since + span)).sum()) / span


def _none(seconds: float) -> Handshakes:
    import numpy as np

    from halfopen.core.sample.handshakes import HandshakeCounters
    from halfopen.wire.bpf_records import HANDSHAKE_COUNTERS, HANDSHAKE_KEY

    nothing = np.empty(0, dtype=HANDSHAKE_KEY), np.empty(0, dtype=HANDSHAKE_COUNTERS)
    return collect(HandshakeCounters(0.0, seconds, *nothing))


def _waits_s(now: Model, capped: bool | None) -> dict[ListenerKey, float]:
    """The longest wait between SYN-ACKs of each listener; empty where this kernel does not cap it."""
    if not capped:
        return {}
    usual_s = now.sample.settings.get("tcp_rto_max_ms", timing.RTO_MAX_S * 1000) / 1000
    own = synack_timer.longest_waits_s(now.sample.listeners["inode"].tolist())
    return {view.key: min((own.get(i, usual_s) for i in inodes(now, view)), default=usual_s) for view in now.views}


def inodes(model: Model, view: ListenerView) -> list[int]:
    """The inodes of the sockets of a listener."""
    groups = join.groups(model.sample.listeners)
    at = next(i for i, one in enumerate(model.views) if one.key == view.key)
    rows: list[int] = model.sample.listeners["inode"][list(groups[at].rows)].tolist()
    return rows


def released_since(began: float, inode: int) -> int:
    """How many half-open connections of a namespace the audit log says were released since then."""
    lines = (small_files.tail(audit.default_path(), _AUDIT_BYTES) or b"").splitlines()
    return sum(_released(line, began, inode) for line in lines)


def _released(line: bytes, began: float, inode: int) -> int:
    try:
        record = json.loads(line)
        mine = isinstance(record, dict) and record.get("netns_inode") == inode and record.get("time", 0) >= began
        return int(record.get("released", 0)) if mine else 0
    except DAMAGED:  # the tail may begin in the middle of a line
        return 0
