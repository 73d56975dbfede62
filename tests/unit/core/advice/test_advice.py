"""Advice on a listener: what it needs, and the actions that bring it about."""

from __future__ import annotations

from typing import Any

import pytest

from halfopen.core.advice.advice import REASON, ListenerAdvice, ListenerWatched, advise
from halfopen.core.advice.choices import Rests
from halfopen.core.advice.depths import Depth
from halfopen.core.model.model import build
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.tune.keys import BACKLOG, COOKIES, RETRIES, SOMAXCONN
from rows import listener, sample
from shaken import handshakes

SETTINGS = {"tcp_syncookies": 1, "somaxconn": 4096}
ENOUGH = (84_000, 0, 0.05)


def advised(
    *kinds: tuple[int, int, float],
    port: int = 443,
    limit: int = 511,
    retries: int = 5,
    depths: list[Depth] | None = None,
    settings: dict[str, int] | None = None,
    **watched: Any,
) -> ListenerAdvice:
    rows = [listener(port=port, limit=limit)]
    [view] = build(sample([], rows, settings={"tcp_synack_retries": retries})).views
    even = [Depth(i * 0.25, 4, 4, 0) for i in range(20)]
    seen = ListenerWatched(view, handshakes(*kinds), even if depths is None else depths, **watched)
    return advise(seen, "self", settings or SETTINGS)


def changes(one: ListenerAdvice) -> list[tuple[str, int]]:
    actions = [action for cure in one.cures for action in cure]
    assert all(isinstance(action, ChangeListener | ChangeSetting) and action.reason == REASON for action in actions)
    return [(action.key, action.value) for action in actions if isinstance(action, ChangeListener | ChangeSetting)]


def test_the_shortest_release_time_that_is_proved_harmless_is_advised() -> None:
    one = advised(ENOUGH, (24, 1, 1.2), (2, 2, 3.3))
    # With 1 retry 2 of them are lost, 1 in 9,000 at most: proved as well, and never advised.
    assert one.release is not None
    assert one.release.retries == 2
    assert changes(one) == [(RETRIES, 2)]
    lossy = advised(ENOUGH, (600, 1, 1.2), (200, 3, 7.3))
    assert changes(lossy) == [(RETRIES, 3)]


def test_too_little_seen_changes_nothing() -> None:
    one = advised((120, 0, 0.05))
    assert (one.release, changes(one)) == (None, [])
    # 120 in 60 s: 4,788 prove 1 in 1,000.
    assert one.proof_s == pytest.approx(4788 / 2, rel=0.01)


def test_no_time_proves_a_release_time_that_loses_clients() -> None:
    assert advised((100, 1, 1.2), (100, 5, 40.0)).proof_s is None
    assert advised().proof_s is None


def test_a_few_clients_prove_little_however_often_they_come() -> None:
    one = advised(ENOUGH, rests=Rests(3, 90))
    assert (one.release, changes(one), one.proof_s) == (None, [], None)
    # Of many sources more come in time: of 1,200 handshakes 300 count.
    assert advised((1200, 0, 0.05), rests=Rests(300, 300)).proof_s == pytest.approx(4788 / 5, rel=0.01)


def test_where_the_server_speaks_first_ten_times_as_much_is_asked_for() -> None:
    kinds = ((9000, 0, 0.05),)
    assert advised(*kinds).release is not None
    ssh = advised(*kinds, port=22)
    assert (ssh.silent, ssh.release) == ("SSH", None)
    assert advised(ENOUGH, port=22).release is not None


def test_a_release_time_that_cuts_clients_off_is_made_longer() -> None:
    one = advised((1000, 0, 0.05), (40, 1, 1.2), retries=1)
    assert one.too_short > 0.02
    assert changes(one) == [(RETRIES, 2)]


def test_the_pruning_of_a_full_queue_censors() -> None:
    """A queue that is more than half full gives fewer retries: what would have come later is not there to be seen."""
    pruned = [Depth(i * 0.25, 400, 1, 0) for i in range(20)]
    one = advised(ENOUGH, depths=pruned)
    assert one.in_force == 2
    assert one.pruned_s == pytest.approx(19 * 0.25)
    assert [choice.lost is None for choice in one.choices] == [False, False, True, True, True, True]


def test_a_backlog_for_both_queues() -> None:
    waiting = [Depth(i * 0.25, 4, 4, 300) for i in range(20)]
    one = advised((24_000, 0, 0.05), rests=Rests(1, 30), depths=waiting, limit=511)
    assert one.needed_backlog == 704  # twice 300 and three times its square root
    assert changes(one) == [(BACKLOG, 1024)]
    assert one.accept_wait_s == pytest.approx(300 / 400)
    assert changes(advised((24_000, 0, 0.05), rests=Rests(1, 30), depths=waiting, limit=1024)) == []


def test_what_is_in_the_way_of_a_backlog_comes_first() -> None:
    waiting = [Depth(i * 0.25, 4, 4, 300) for i in range(20)]
    one = advised(
        (24_000, 0, 0.05), rests=Rests(1, 30), depths=waiting, settings={"tcp_syncookies": 1, "somaxconn": 511}
    )
    assert changes(one) == [(SOMAXCONN, 1024), (BACKLOG, 1024)]


@pytest.mark.parametrize(("value", "change"), [(0, [(COOKIES, 1)]), (1, []), (2, [(COOKIES, 1)])])
def test_cookies(value: int, change: list[tuple[str, int]]) -> None:
    assert changes(advised((120, 0, 0.05), settings={**SETTINGS, "tcp_syncookies": value})) == change


def test_without_cookies_a_flood_needs_room_for_the_release_time_that_is_advised() -> None:
    off = {**SETTINGS, "tcp_syncookies": 0}
    long = advised((120, 0, 0.05), unanswered_per_s=100.0, settings=off)
    assert long.syn_queue.length == pytest.approx(6300, rel=0.01)
    assert long.syn_queue.needed > 2 * 6300
    short = advised(ENOUGH, unanswered_per_s=100.0, settings=off)
    assert short.release is not None
    assert short.syn_queue.needed < long.syn_queue.needed / 5


def test_with_cookies_a_flood_needs_none() -> None:
    one = advised((120, 0, 0.05), unanswered_per_s=100.0)
    assert one.syn_queue.length == pytest.approx(6300, rel=0.01)
    assert one.syn_queue.needed < 10
    assert changes(one) == []


def test_no_backlog_is_advised_for_an_accept_queue_that_stays_full() -> None:
    """It would fill as well: the program does not keep up."""
    stuck = [Depth(i * 0.25, 0, 0, 101, True) for i in range(20)]
    one = advised(depths=stuck, limit=100)
    assert (one.stays_full, changes(one), one.accept_wait_s) == (True, [], None)
    # A burst fills it now and then.
    bursts = [Depth(i * 0.25, 0, 0, 101 * (i % 4 == 0), i % 4 == 0) for i in range(20)]
    assert changes(advised(depths=bursts, limit=100)) == [(BACKLOG, 256)]


def test_no_backlog_is_advised_for_a_program_that_falls_behind_in_a_long_queue() -> None:
    """A longer queue would have more clients wait, and wait for longer."""
    behind = [Depth(i * 0.25, 0, 0, 3000 + i, False) for i in range(20)]
    one = advised((2400, 0, 0.05), depths=behind, limit=4096)
    assert (one.falls_behind, changes(one)) == (True, [])
    # A burst is gone a second later.
    bursts = [Depth(i * 0.25, 0, 0, 3000 * (i % 4 == 0), False) for i in range(20)]
    one = advised((2400, 0, 0.05), depths=bursts, limit=4096)
    assert (one.falls_behind, changes(one)) == (False, [(SOMAXCONN, 8192), (BACKLOG, 8192)])


def test_handshakes_that_a_full_accept_queue_made_late_ask_for_no_longer_release_time() -> None:
    late = (1000, 0, 0.05), (40, 1, 1.2)
    assert changes(advised(*late, retries=1)) == [(RETRIES, 2)]
    assert changes(advised(*late, retries=1, overflows=90)) == []
