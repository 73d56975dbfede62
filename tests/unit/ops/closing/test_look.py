"""A filter narrows what is shown; what the connections are is decided by all of them."""

from __future__ import annotations

from typing import Any, Final

from connections import aged, evidence, sockets
from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.findings.finding import Level
from halfopen.core.sample.closing import CLOSE_WAIT, ESTABLISHED, SENT
from halfopen.ops.closing.look import ClosingLook, judge_chosen
from halfopen.present.findings.sentences import say

IN_CLOSE_WAIT: Final = ClosingFilter(states=(CLOSE_WAIT,))
IN_USE: Final[dict[str, Any]] = {"state": ESTABLISHED, "unread": 0}


def at(first: int, ages_s: list[float], **more: Any) -> list[dict[str, Any]]:
    rows = aged(ages_s, **more)
    return [{**row, "inode": 1000 + first + i, "local_port": 40_000 + first + i} for i, row in enumerate(rows)]


def seen(
    now: list[dict[str, Any]],
    before: list[dict[str, Any]] | None = None,
    *,
    ports: tuple[int, ...] = (),
    filter: ClosingFilter = IN_CLOSE_WAIT,
) -> ClosingLook:
    earlier = None if before is None else evidence(sockets(*before, at_s=90.0), ports=ports).now.sample
    return judge_chosen(evidence(sockets(*now), ports=ports).now.sample, earlier, filter)


def found(*args: Any, **more: Any) -> dict[str, Level]:
    return {one.id: one.level for one in seen(*args, **more).verdict.findings}


def test_a_pool_that_dies_one_by_one_is_none_that_leaks_though_its_rest_is_not_shown() -> None:
    before = [*at(0, [0.5, 3.0]), *at(10, [40.0 + i for i in range(12)], **IN_USE)]
    now = [*at(0, [10.5, 13.0]), *at(10, [i / 2 for i in range(12)])]
    assert found(now, before) == {"close-wait-idle-pool": Level.OK}
    [group] = seen(now, before).model.groups
    assert group.count == 14
    # More than any pool has, and new ones.
    leak = at(100, [i / 5 for i in range(60)])
    assert found([*now, *leak], before) == {"close-wait-leak": Level.WARNING}


def test_who_waits_for_another_server_is_not_called_stuck_though_that_is_not_shown() -> None:
    clients = [{"local_port": 8080, "bytes_received": 80}] * 12
    own = [{"state": ESTABLISHED, "unread": 0, "flags": SENT}] * 12
    [one] = seen([*clients, *own], ports=(8080,)).verdict.findings
    assert "have had no answer" in str(say(one))


def test_numbers_are_of_those_that_are_shown() -> None:
    rows = at(0, [12.0 + i for i in range(20)], local_port=8080)
    rows = [{**row, "local_port": 8080} for row in rows]
    old = ClosingFilter(idle_s=22.0)
    [one] = seen(rows, ports=(8080,), filter=old).verdict.findings
    assert (one.id, one.count("sockets")) == ("close-wait-stuck", 10)
    assert not seen(rows, ports=(8080,), filter=ClosingFilter(states=(ESTABLISHED,))).verdict.findings
