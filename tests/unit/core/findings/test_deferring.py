"""Connections that finished the handshake and wait for data: no trouble until they fill the SYN queue."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.check import causes
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.model.model import build
from halfopen.core.sample.listeners import ListenerOptions
from halfopen.core.sample.requests import Requests
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from rows import listener, sample
from verdicts import many

HONEST = {"SyncookiesSent": 96, "SyncookiesRecv": 94, "PassiveOpens": 110}


def look(
    *,
    deferred: int = 65,
    half_open: int = 0,
    limit: int = 64,
    cookies: int = 1,
    exact: bool = True,
    defer_s: int = 31,
    accept_queue: int = 0,
    expires_ms: int = 3500,
    rates: dict[str, int] | None = None,
) -> Verdict:
    """The verdict on a deferring listener that holds so many of both kinds; rates: of two looks a second apart."""
    rows, n = [*many(deferred, expires_ms=expires_ms), *many(half_open)], deferred + half_open
    at = listener(limit=limit, accept_queue=accept_queue, drops=700)
    options = {1: ListenerOptions(defer_accept_s=defer_s)} if defer_s else {}
    total = {name: 8 * rate for name, rate in (rates or HONEST).items()}
    settings = {"tcp_syncookies": cookies}
    before = sample(rows, [at], options=options, settings=settings, counters=total, monotonic_s=100.0)
    if exact:
        acked = np.arange(n) < deferred
        part = Requests(before.requests, n, ages_s=np.full(n, 4.0, np.float32), acked=acked)
        before = replace(before, parts=(part,))
    counters = {name: n + (rates or HONEST)[name] for name, n in total.items()}
    now = replace(before, counters=counters, monotonic_s=101.0)
    return judge(build(now, before), build(before))


@pytest.mark.parametrize("exact", [True, False])
def test_a_queue_that_they_fill_is_not_too_short_for_the_traffic(exact: bool) -> None:
    found = [one for one in look(exact=exact).findings if one.level > Level.OK]
    assert [(one.id, one.level) for one in found] == [("deferred-accept", Level.WARNING)]
    assert found[0].count("deferred") == 65
    assert say(found[0]) == (
        "the SYN queue of :8080 is full (65 of 65): 65 connections in it finished the handshake and wait for data, "
        "each for up to 31 s (TCP_DEFER_ACCEPT); new clients get SYN cookies: 96/s are sent, and 94/s come back"
    )


def test_with_cookies_off_clients_are_turned_away() -> None:
    verdict = look(cookies=0, rates={"ListenDrops": 40, "ListenOverflows": 0})
    first, second = verdict.findings
    assert (first.id, first.level, second.id) == ("deferred-accept", Level.CRITICAL, "cookies-off")
    assert say(first).endswith("new SYNs are dropped, 40/s now, as SYN cookies are off")
    assert next_commands(verdict)[:2] == [
        "halfopen tune apply --cookies on",
        "halfopen tune listener :8080 --defer-accept 1s",
    ]


@pytest.mark.parametrize("defer_s", [1, 0])
def test_a_listener_that_defers_for_no_longer_is_told_to_defer_no_more(defer_s: int) -> None:
    """0: no option was read, and its requests alone show that it defers."""
    assert next_commands(look(defer_s=defer_s, exact=False))[0] == "halfopen tune listener :8080 --defer-accept 0"


@pytest.mark.parametrize(
    "values",
    [
        {"deferred": 30, "half_open": 35},  # others fill it
        {"deferred": 40, "limit": 256},  # it is not full
        {"accept_queue": 65},  # an ACK waits for room there
        {"exact": False, "expires_ms": 300},  # half-open for all that timers tell
    ],
    ids=str,
)
def test_elsewhere_they_are_a_note(values: dict[str, Any]) -> None:
    verdict = look(**values)
    [note] = [one for one in verdict.findings if one.id == "deferred-accept"]
    assert note.level is Level.NOTICE
    assert note not in causes(verdict)


def test_a_queue_half_full_of_them_is_no_riddle_and_cookies_of_before_are_theirs() -> None:
    quiet = {"SyncookiesSent": 0, "SyncookiesRecv": 0}
    verdict = look(deferred=50, rates=quiet)
    assert [one.id for one in verdict.findings] == ["deferred-accept"]
