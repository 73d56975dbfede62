"""The two queues: full, filling, and what would make them longer."""

from __future__ import annotations

import pytest

from halfopen.core.findings.cures import ChangeListener, ChangeSetting
from halfopen.core.findings.finding import Level
from halfopen.core.tune.keys import SOMAXCONN, SYN_BACKLOG
from rows import listener
from verdicts import many, verdict_of


@pytest.mark.parametrize(
    ("queue", "found", "level"),
    [
        (129, "accept-queue-full", Level.CRITICAL),
        (128, "accept-queue-full", Level.CRITICAL),
        (127, "accept-queue-filling", Level.NOTICE),
        (65, "accept-queue-filling", Level.NOTICE),
        (64, None, Level.OK),
    ],
)
def test_the_accept_queue(queue: int, found: str | None, level: Level) -> None:
    verdict, ids = verdict_of([], listener(accept_queue=queue, limit=128))
    assert ids == ([found] if found else [])
    assert verdict.level is level


@pytest.mark.parametrize(("cookies", "level"), [(0, Level.CRITICAL), (1, Level.WARNING)])
def test_a_full_syn_queue_is_worse_without_cookies(cookies: int, level: Level) -> None:
    verdict, _ = verdict_of(many(60, expires_ms=900), listener(limit=60), settings={"tcp_syncookies": cookies})
    found = {f.id: f for f in verdict.findings}
    assert found["syn-queue-full"].level is level


def test_queue_of_four_is_not_called_filling() -> None:
    assert "syn-queue-filling" not in verdict_of(many(4), listener(limit=6))[1]
    assert "syn-queue-filling" in verdict_of(many(5), listener(limit=6))[1]


def test_what_is_in_the_way_of_a_longer_queue_comes_first() -> None:
    verdict, _ = verdict_of([], listener(accept_queue=129, limit=128))
    assert verdict.next == ((ChangeListener("self", "0.0.0.0", 8080, backlog=4096),),)
    verdict, _ = verdict_of([], listener(accept_queue=129, limit=128), settings={"somaxconn": 128})
    assert [type(action) for action in verdict.next[0]] == [ChangeSetting, ChangeListener]
    assert verdict.next[0][0] == ChangeSetting("self", SOMAXCONN, 4096)
    small = {"tcp_syncookies": 0, "tcp_max_syn_backlog": 64}
    verdict, _ = verdict_of(many(48), listener(limit=512), settings=small)
    assert (ChangeSetting("self", SYN_BACKLOG, 4096),) in verdict.next
