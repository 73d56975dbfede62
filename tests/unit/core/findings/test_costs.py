"""Of several causes at once the worst comes first; of one level the one that costs more clients a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.sample.before_tcp import Conntrack
from rows import listener, request
from verdicts import nothing_lost, second_look, silent, still_coming

FULL = {"accept_queue": 129, "limit": 128}


def deaf(n: int) -> list[Any]:
    """n clients of one network that ask again."""
    return [
        request(f"10.9.{i}.7", source_port=1024 + i, cookie=5000 + i, retransmits=8, expires_ms=500) for i in range(n)
    ]


def timers(rows: list[Any]) -> dict[str, Any]:
    """What /proc tells of the timers: two ran out where the client asked again."""
    return {"timeouts": np.array([min(2, int(row["retransmits"][0])) for row in rows], dtype=np.uint8)}


def costs(verdict: Verdict) -> dict[str, float]:
    return {f.id: round(f.costs_per_s, 1) for f in verdict.findings}


def test_deaf_clients_come_before_a_flood_that_costs_nobody() -> None:
    rows = [*still_coming(300), *deaf(20)]
    verdict, ids = second_look(rows, rates={"PassiveOpens": 50}, **timers(rows))
    assert ids[:2] == ["synacks-lost", "spoofed-flood"]
    assert [f.level for f in verdict.findings[:2]] == [Level.WARNING] * 2
    assert costs(verdict)["spoofed-flood"] == 0
    assert costs(verdict)["synacks-lost"] > 0


def test_a_flood_that_has_syns_dropped_comes_first_by_its_level() -> None:
    rows = [*still_coming(300), *deaf(20)]
    verdict, ids = second_look(rows, rates={"PassiveOpens": 50, "ListenDrops": 400}, **timers(rows))
    assert ids[:2] == ["spoofed-flood", "synacks-lost"]
    # Of dropped SYNs clients have the part that they have of all arrivals.
    assert 0 < costs(verdict)["spoofed-flood"] < 400


@pytest.mark.parametrize(("first", "second"), [(40, 4), (4, 40)])
def test_of_two_queues_that_overflow_the_worse_comes_first(first: int, second: int) -> None:
    now = [
        listener(port=81, inode=1, cookie=1, drops=first, **FULL),
        listener(port=82, inode=2, cookie=2, drops=second, **FULL),
    ]
    before = [listener(port=81, inode=1, cookie=1, **FULL), listener(port=82, inode=2, cookie=2, **FULL)]
    rates = {"ListenOverflows": 88, "ListenDrops": 88}
    verdict, ids = second_look([], *now, first=before, rates=rates)
    assert ids[:2] == ["app-not-accepting"] * 2
    assert [f.at.port for f in verdict.findings[:2]] == ([81, 82] if first > second else [82, 81])
    assert [f.costs_per_s for f in verdict.findings[:2]] == [80, 8]


def test_a_program_that_takes_none_of_those_who_finish_costs_them_all() -> None:
    now, before = listener(cookie=5, accept_queue=60, limit=128), listener(cookie=5, accept_queue=40, limit=128)
    verdict, ids = second_look([], now, first=[before], rates={"PassiveOpens": 40})
    assert ids == ["app-not-accepting"]
    assert costs(verdict) == {"app-not-accepting": 40.0}


@pytest.mark.parametrize(("drops", "first"), [(2, "app-not-accepting"), (200, "conntrack-full")])
def test_a_full_table_of_tracked_connections_beside_a_full_queue(drops: int, first: str) -> None:
    lost = nothing_lost(conntrack=Conntrack(1000, 1000, drops, 0, 0))
    full = listener(cookie=5, drops=10, **FULL)
    verdict, ids = second_look(
        [], full, first=[listener(cookie=5, **FULL)], rates={"ListenOverflows": 20, "ListenDrops": 20}, parts=[lost]
    )
    assert ids[:2] == [first, *({"app-not-accepting", "conntrack-full"} - {first})]
    assert [f.level for f in verdict.findings[:2]] == [Level.CRITICAL] * 2


def test_the_same_loss_by_two_causes_keeps_their_order() -> None:
    """Drops in a flood with cookies off: the flood, then the setting."""
    full = listener(limit=600, cookie=5)
    verdict, ids = second_look(
        still_coming(300), full, rates={"PassiveOpens": 5, "ListenDrops": 300}, settings={"tcp_syncookies": 0}
    )
    assert ids[:2] == ["spoofed-flood", "cookies-off"]
    assert costs(verdict)["spoofed-flood"] == costs(verdict)["cookies-off"]


def test_what_goes_on_comes_before_what_is_over() -> None:
    """A queue past its limit now, beside cookies that came back some time ago."""
    counters = {"SyncookiesSent": 4, "SyncookiesRecv": 4}
    verdict, ids = second_look(silent(20), listener(limit=4, cookie=5), counters=counters, rates={"PassiveOpens": 2})
    assert ids[:2] == ["timewait-reopen", "backlog-small"]
    assert [f.level for f in verdict.findings[:2]] == [Level.NOTICE] * 2
    assert [f.past for f in verdict.findings[:2]] == [False, True]
