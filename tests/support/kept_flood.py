"""A history with a flood in it, kept by the sink of `watch` of readings made up for it: no kernel, no clock."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from halfopen.core.filters import Filter
from halfopen.core.findings.verdict import judge
from halfopen.core.history import Retention
from halfopen.core.model.columns import columns_of
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Telling
from halfopen.core.policy.events import Seen
from halfopen.core.policy.incidents import Incidents
from halfopen.core.policy.policy import Policy, ReadMore, State, step
from halfopen.core.policy.readings import counts_of, gained
from halfopen.core.reports import Begun, Decided, Did, Ended, Reading, Round
from halfopen.core.sample import QUEUES, Process, Sample
from halfopen.ops.watch import history as sink
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.database import HistoryPlace, open_to_write, prepare
from rows import SELF, listener, request, sample

BEGAN_S = datetime(2026, 11, 26, 2, 55, 0, tzinfo=UTC).timestamp()
VERSION = "0.1.0"
SECONDS = 80
FLOOD = range(12, 42)
RATE = 60
BACKLOG = 256
RELEASED_AT = (22, 30)
OLDER_THAN_S = 5.0
_EXPIRES = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)


class Written:
    """Takes what a `Writer` takes, and writes it at once."""

    def __init__(self, place: HistoryPlace, began_s: float) -> None:
        prepare(place, None)
        self.place = place
        self._db: sqlite3.Connection = open_to_write(place)
        self._rows = RowWriter(self._db, VERSION, began_s)

    def hand(self, batch: HistoryBatch) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._rows.write(batch)
        self._db.execute("COMMIT")

    def do(self, work: Callable[[], None]) -> None:
        work()

    def trouble(self) -> None:
        return None

    def close(self) -> None:
        self._db.close()


@functools.cache
def _waiting(second: int) -> list[int]:
    """The second in which each SYN came that waits now: a queue takes no more than it has room for."""
    found: list[int] = []
    for now in range(second + 1):
        found = [came for came in found if now - came < 63]
        if now - 1 in RELEASED_AT:
            found = [came for came in found if now - 1 - came < OLDER_THAN_S]
        if now in FLOOD:
            found += [now] * min(RATE, BACKLOG - len(found))
        if now > FLOOD.stop:  # a queue that is more than half full is pruned; here quickly, for a short story
            found = [came for came in found if now - came < 12]
    return found


def _request(age_s: float, number: int) -> Any:
    retransmits = next(i for i, until_s in enumerate(_EXPIRES) if age_s < until_s)
    address = f"{20 + number % 170}.{number // 170 % 250}.{number % 250}.7"
    expires_ms = round(1000 * (_EXPIRES[retransmits] - age_s))
    return request(
        address, retransmits=retransmits, expires_ms=expires_ms, source_port=1024 + number % 60_000, cookie=number + 1
    )


def reading(second: int, began_s: float = BEGAN_S) -> Sample:
    """What is there in that second: clients that finish, and the flood."""
    came = _waiting(second)
    rows = [_request(second - at + 0.4, 1000 * at + i) for i, at in enumerate(came)]
    queues = np.zeros(1, dtype=QUEUES)
    queues["known"], queues["qlen"] = True, len(rows)
    full = sum(1 for now in FLOOD if now <= second and len(_waiting(now)) >= BACKLOG)
    over = min(max(0, second - FLOOD.start + 1), len(FLOOD))
    return sample(
        rows,
        [listener(port=8080, inode=1, limit=BACKLOG, drops=3 * full), listener(port=22, inode=2)],
        queues=np.concatenate([queues, np.zeros(1, dtype=QUEUES)]),
        owners={1: (Process(4711, "we<b>`|_*", "web.service"),)},
        counters={
            "PassiveOpens": 20 * second,
            "SyncookiesSent": 50 * full,
            "SyncookiesRecv": 0,
            "ListenDrops": 3 * full,
            "TCPReqQFullDoCookies": 50 * full,
            "ListenOverflows": 0,
            "OutRsts": over,
        },
        settings={"tcp_synack_retries": 2 if second > 50 else 5},
        monotonic_s=1000.0 + second,
        wall_s=began_s + second,
    )


def keep(
    directory: Path,
    patch: pytest.MonkeyPatch,
    *,
    began_s: float = BEGAN_S,
    seconds: int = SECONDS,
    unwatched: range = range(0),
) -> str:
    """Keep the story in a history at `directory`; the id of its incident. unwatched: seconds in which no watch ran."""
    writer = Written(HistoryPlace.of(f"{directory}/"), began_s)
    now_s = [began_s]
    patch.setattr(sink, "time", SimpleNamespace(time=lambda: now_s[0]))
    kept = sink.HistorySink(writer, Retention(), VERSION)  # type: ignore[arg-type]
    policy, state, incidents = Policy(), State(), Incidents()
    kept.take(Begun(1.0, policy))
    before: Model | None = None
    id = ""
    for second in range(seconds):
        now_s[0] = began_s + second + 0.1
        if second in unwatched:
            kept.take(Round(frozenset(), frozenset()))
            continue
        read = reading(second, began_s)
        model = build(read, None if before is None else before.sample, columns=columns_of(read), top=3)
        last = None if before is None else before.bare()
        verdict = judge(model, last)
        seen = Seen(
            where=SELF,
            at_s=read.monotonic_s,
            half_open=model.half_open,
            counts=counts_of(model, last, verdict, state.wanted(SELF)),
            finished=gained("PassiveOpens", model, last),
            release_s=model.release_time_s,
            verdict=verdict,
            wall_s=read.wall_s,
        )
        state, actions = step(state, seen, policy)
        assert not [action for action in actions if isinstance(action, ReadMore)]
        told = [(a, incidents.told(model, a, verdict)) for a in actions if isinstance(a, Telling)]
        on = incidents.seen(model, state.incidents(SELF))
        kept.take(Reading(model, verdict, 0.001, on))
        there = {one.id: one for one in on}
        for telling, one in told:
            id = one.id
            kept.take(Decided(model, telling, verdict, there.get(one.id, one)))
        if second in RELEASED_AT and on:
            old = sum(second - came >= OLDER_THAN_S for came in _waiting(second))
            action = Release(SELF, Filter(OLDER_THAN_S), "watch: older than 5 s", tuple(one.id for one in on))
            outcome = Released(action, old, old, held=True, seconds=0.01)
            kept.take(Did(outcome, incidents.did(outcome, now_s[0])))
        kept.take(Round(frozenset({SELF}), frozenset()))
        before = model
    kept.take(Ended(seconds))
    return id
