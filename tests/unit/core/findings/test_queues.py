"""The two queues: who does not take from them, and when they are too short."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.cures import LookAtProcess
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.core.policy.actions import ChangeListener, ChangeSetting
from halfopen.core.sample import QUEUES, Process
from halfopen.core.sample.workers import Workers, WorkerState
from halfopen.core.tune.keys import BACKLOG, COOKIES, SOMAXCONN, SYN_BACKLOG
from halfopen.present.findings.sentences import say
from rows import listener, sample
from verdicts import arrivals, asking, many, releases, second_look, silent, timers, verdict_of

WEB = {1: (Process(7, "web"),)}


@pytest.mark.parametrize(
    ("queue", "found", "level"),
    [(129, ["app-not-accepting"], Level.CRITICAL), (128, ["cannot-tell"], Level.NOTICE), (64, [], Level.OK)],
)
def test_one_look_at_the_accept_queue(queue: int, found: list[str], level: Level) -> None:
    """It takes one more than the backlog, and only a full one tells by itself."""
    verdict, ids = verdict_of([], listener(accept_queue=queue, limit=128))
    assert ids == found
    assert verdict.level is level


@pytest.mark.parametrize(("queue", "level"), [(129, Level.CRITICAL), (100, Level.WARNING), (3, Level.NOTICE)])
def test_nothing_accepted_between_two_looks(queue: int, level: Level) -> None:
    verdict, ids = second_look([], listener(accept_queue=queue, limit=128, cookie=5), owners=WEB)
    assert (ids, verdict.level) == (["app-not-accepting"], level)
    found = verdict.findings[0]
    assert found.fact("accept_queue").limit == 129
    assert found.count("accepted_at_most") == 0
    # A longer queue would only lengthen the wait.
    assert verdict.next == ((LookAtProcess(7, "app-not-accepting"),),)


def test_a_program_that_accepts_is_not_accused() -> None:
    _, ids = second_look([], listener(accept_queue=100, limit=128, cookie=5), rates={"PassiveOpens": 400})
    assert ids == []


def test_a_slow_one_may_need_a_longer_queue_but_is_looked_at_first() -> None:
    full = listener(accept_queue=129, limit=128, cookie=5)
    verdict, _ = second_look([], full, owners=WEB, rates={"PassiveOpens": 400})
    change = ChangeListener("self", "0.0.0.0", 8080, BACKLOG, 4096, "app-not-accepting")
    assert verdict.next == ((LookAtProcess(7, "app-not-accepting"),), (change,))
    verdict, _ = second_look([], full, owners=WEB, rates={"PassiveOpens": 400}, settings={"somaxconn": 128})
    assert verdict.next[1:] == ((ChangeSetting("self", SOMAXCONN, 4096, "app-not-accepting"), change),)


def test_a_backlog_of_zero_takes_one() -> None:
    verdict, ids = second_look([], listener(accept_queue=1, limit=0, cookie=5))
    assert ids == ["app-not-accepting"]
    assert verdict.findings[0].fact("accept_queue").limit == 1


def test_one_stuck_socket_of_four_is_not_hidden_by_the_sum() -> None:
    group = [listener(accept_queue=65 * (i == 2), limit=64, cookie=i + 1, inode=i + 1) for i in range(4)]
    owners = {3: (Process(9, "worker"),), 1: (Process(7, "worker"),)}
    verdict, ids = second_look([], *group, owners=owners, rates={"PassiveOpens": 100})
    assert (ids, verdict.level) == (["member-not-accepting"], Level.CRITICAL)
    found = verdict.findings[0]
    assert (found.count("stuck_sockets"), found.count("sockets")) == (1, 4)
    assert (found.text("process"), found.count("pid")) == ("worker", 9)


def test_cookies_that_come_back_now_are_a_warning_though_no_accept_queue_overflows_any_more() -> None:
    counters = {"ListenOverflows": 30, "ListenDrops": 30, "SyncookiesSent": 900, "SyncookiesRecv": 900}
    full = listener(drops=30)
    for back, level in ((240, Level.WARNING), (0, Level.NOTICE)):
        rates = {"ListenOverflows": 0, "SyncookiesSent": 240, "SyncookiesRecv": back, "PassiveOpens": 400}
        verdict, ids = second_look([], full, counters=counters, rates=rates)
        assert (ids, verdict.findings[0].level) == (["backlog-small"], level)
    assert "1,020 SYN cookies sent, 240/s now" in say(verdict.findings[0])


def test_the_shortest_backlog_of_a_group_is_told_and_not_the_mean() -> None:
    """One of four sockets was opened with a backlog of 1."""
    group = [listener(limit=limit, drops=9, cookie=i + 1, inode=i + 1) for i, limit in enumerate((256, 1, 256, 256))]
    counters, rates = {"ListenOverflows": 30, "ListenDrops": 30}, {"ListenOverflows": 8.0, "ListenDrops": 8.0}
    verdict, ids = second_look([], *group, counters=counters, rates=rates)
    assert ids == ["backlog-small"]
    found = verdict.findings[0]
    assert (found.count("backlog"), found.count("sockets"), found.count("backlog_needed")) == (1, 4, 5)
    assert "of the 4 sockets of :8080, the shortest has a backlog of 1" in say(found)
    alike = second_look(
        [], *(listener(drops=9, cookie=i + 1, inode=i + 1) for i in range(4)), counters=counters, rates=rates
    )
    assert "the backlog of :8080 is 128" in say(alike[0].findings[0])


def test_overflows_of_the_past_are_a_notice_and_present_ones_a_warning() -> None:
    past = {"ListenOverflows": 30, "ListenDrops": 30}
    verdict, ids = second_look([], listener(drops=30), counters=past)
    assert (ids, verdict.level, verdict.findings[0].count("ListenOverflows")) == (["past-overflows"], Level.NOTICE, 30)
    # A SYN queue that overflowed as well was too short, whatever the program did.
    both = {**past, "SyncookiesSent": 9}
    verdict, ids = second_look([], listener(drops=30), counters=both)
    assert (ids, verdict.level) == (["backlog-small"], Level.NOTICE)
    verdict, ids = second_look([], listener(drops=30), counters=past, rates={"ListenOverflows": 10, "ListenDrops": 10})
    assert (ids, verdict.level) == (["backlog-small"], Level.WARNING)


def test_the_backlog_that_would_have_held_what_came() -> None:
    """Ten found no room between the looks: each takes one place."""
    past = {"ListenOverflows": 30, "ListenDrops": 30}
    rates = {"ListenOverflows": 20, "ListenDrops": 20}
    found = second_look([], listener(limit=5, drops=30), counters=past, rates=rates)[0].findings[0]
    assert (found.id, found.count("backlog_needed")) == ("backlog-small", 15)
    assert "a backlog of 15 would have held what came just now" in say(found)
    assert not found.has("under_way")
    counted = arrivals({"10.0.0.1": {"syns": 60, "repeats": 10, "finished": 40, "timed": 40, "sum_us": 8_000_000}})
    # A handshake that was dropped once takes as long as the timers.
    found = second_look([], listener(limit=5, drops=30), counters=past, rates=rates, parts=[counted])[0].findings[0]
    assert not found.has("under_way")
    cookies = {"SyncookiesSent": 20, "SyncookiesRecv": 20}
    found = second_look([], listener(limit=5), counters=cookies, rates=cookies, parts=[counted])[0].findings[0]
    assert (found.number("arrivals_per_s"), found.number("handshake_s"), found.number("under_way")) == (100, 0.2, 20)
    assert "100/s arrive and take 0.2 s each, 20 at a time on average" in say(found)


def test_a_burst_longer_than_the_usual_backlog_is_proposed_for() -> None:
    verdict, _ = second_look(
        [],
        listener(limit=5),
        counters={"SyncookiesSent": 90, "SyncookiesRecv": 12_000},
        rates={"SyncookiesSent": 10_000},
    )
    assert verdict.findings[0].count("backlog_needed") == 5005
    assert verdict.next[0][-1].value == 8192  # type: ignore[union-attr]
    # Nothing is said of bursts that are over.
    past = second_look([], listener(limit=5), counters={"SyncookiesSent": 90, "SyncookiesRecv": 80})[0]
    assert not past.findings[0].has("backlog_needed")


def test_cookies_that_came_back_show_a_queue_too_short() -> None:
    verdict, ids = verdict_of([], listener(limit=5), counters={"SyncookiesSent": 90, "SyncookiesRecv": 80})
    assert ids == ["backlog-small"]
    assert verdict.findings[0].count("backlog") == 5
    flooded = {"SyncookiesSent": 90_000, "SyncookiesRecv": 80}
    assert verdict_of([], listener(limit=5), counters=flooded)[1] == []


def test_somaxconn_is_named_where_it_is_in_the_way() -> None:
    counters = {"ListenOverflows": 30, "ListenDrops": 30}
    small, now = {"somaxconn": 128}, {"ListenOverflows": 9.0}
    verdict, ids = second_look([], listener(drops=30), counters=counters, settings=small, rates=now)
    assert (ids, verdict.level) == (["somaxconn-clamp"], Level.WARNING)
    assert verdict.next == (
        (
            ChangeSetting("self", SOMAXCONN, 4096, "somaxconn-clamp"),
            ChangeListener("self", "0.0.0.0", 8080, BACKLOG, 4096, "somaxconn-clamp"),
        ),
    )
    ids = second_look([], listener(limit=100, drops=30), counters=counters, settings=small, rates=now)[1]
    assert ids == ["backlog-small"]
    assert verdict_of([], listener(), settings=small)[1] == []


def test_somaxconn_is_the_cause_of_cookies_that_came_back() -> None:
    back = {"SyncookiesSent": 90, "SyncookiesRecv": 80}
    two = listener(limit=16, port=80, inode=1), listener(limit=16, port=81, inode=2)
    verdict, ids = verdict_of([], *two, counters=back, settings={"somaxconn": 16})
    assert (ids, verdict.level) == (["somaxconn-clamp"], Level.NOTICE)
    assert verdict.findings[0].count("capped") == 2


def test_somaxconn_is_not_to_blame_for_a_program_that_does_not_accept() -> None:
    full = listener(accept_queue=129, limit=128, cookie=5, drops=30)
    verdict, ids = second_look([], full, counters={"ListenOverflows": 30}, settings={"somaxconn": 128}, owners=WEB)
    assert ids == ["app-not-accepting"]
    assert verdict.next == ((LookAtProcess(7, "app-not-accepting"),),)


def test_drops_are_never_ok_and_drops_that_are_none_are() -> None:
    verdict, ids = verdict_of([], listener(drops=300), counters={"ListenDrops": 300, "ListenOverflows": 0})
    assert ids == ["cannot-tell"]
    assert verdict.findings[0].count("dropped_syns") == 300
    # SYNs that were sent again and answered count in the drops of a listener.
    verdict, ids = verdict_of([], listener(drops=300), counters={"ListenDrops": 0})
    assert (ids, verdict.level) == ([], Level.OK)


def test_cookies_off_below_the_number_that_many_are() -> None:
    small = {"tcp_syncookies": 0, "tcp_max_syn_backlog": 64}
    verdict, ids = second_look(many(49), listener(limit=512), counters={"ListenDrops": 151}, settings=small)
    assert ids == ["cookies-off", "syn-backlog-reserve"]
    assert verdict.level is Level.CRITICAL
    assert verdict.findings[0].count("dropped_syns") == 151
    assert verdict.next[0] == (ChangeSetting("self", COOKIES, 1, "cookies-off"),)
    assert verdict.next[1] == (ChangeSetting("self", SYN_BACKLOG, 4096, "cookies-off"),)
    assert not releases(verdict)


@pytest.mark.parametrize(
    ("counters", "level"), [({}, Level.NOTICE), ({"TCPReqQFullDrop": 3, "ListenDrops": 3}, Level.WARNING)]
)
def test_cookies_off_without_a_full_queue(counters: dict[str, int], level: Level) -> None:
    verdict, ids = verdict_of([], settings={"tcp_syncookies": 0}, counters=counters)
    assert (ids, verdict.level) == (["cookies-off"], level)


def test_a_queue_half_full_of_the_young_is_undecided() -> None:
    verdict, ids = second_look(many(40), listener(limit=64))
    assert (ids, verdict.level) == (["cannot-tell"], Level.WARNING)
    assert second_look(many(4), listener(limit=6))[1] == []


@pytest.mark.parametrize(("held", "found"), [(12, True), (6, True), (5, False), (4, False)])
def test_a_queue_past_its_limit_holds_reopened_connections(held: int, found: bool) -> None:
    """The kernel admits one more than the limit, and a SYN that reopens a TIME_WAIT connection without looking."""
    read = np.zeros(1, dtype=QUEUES)
    read["known"], read["qlen"] = True, held
    verdict, ids = verdict_of(many(held), listener(limit=4), queues=read)
    assert ("timewait-reopen" in ids) is found
    if found:
        finding = next(f for f in verdict.findings if f.id == "timewait-reopen")
        assert (finding.count("syn_queue"), finding.level) == (held, Level.NOTICE)
    assert not releases(verdict)


def test_a_short_queue_beside_one_that_is_stuck_is_named_by_cookies_alone() -> None:
    stuck = listener(accept_queue=65, limit=64, cookie=5, drops=900)
    short = listener(port=81, inode=2, limit=5, cookie=6, drops=90)
    rates = {"PassiveOpens": 10, "ListenOverflows": 40}
    counters = {"ListenOverflows": 990, "ListenDrops": 990}
    assert second_look([], stuck, short, counters=counters, rates=rates)[1] == ["app-not-accepting"]
    counters |= {"SyncookiesSent": 90, "SyncookiesRecv": 80}
    # The same connection is next in the full queue at both looks: none was accepted.
    queues = np.zeros(2, dtype=QUEUES)
    queues["known"], queues["oldest_isn"] = True, (77, 0)
    verdict, ids = second_look([], stuck, short, counters=counters, rates=rates, queues=queues)
    assert ids == ["app-not-accepting", "backlog-small"]
    assert verdict.findings[1].at.port == 81
    # One that accepts a few has room now and then, and sent cookies itself; its drops are of SYNs sent again.
    assert second_look([], stuck, short, counters=counters, rates=rates)[1] == ["app-not-accepting"]
    # The one that is stuck is not called too short as well.
    assert second_look([], stuck, counters=counters, rates=rates)[1] == ["app-not-accepting"]


def test_a_queue_that_clients_fill_who_do_not_hear_is_not_too_short() -> None:
    """Whatever cookies came back before, of others."""
    counters = {"SyncookiesSent": 90, "SyncookiesRecv": 80}
    for limit, ids in ((200, ["synacks-lost"]), (4000, ["synacks-lost", "backlog-small"])):
        found = second_look(asking(201), listener(limit=limit, cookie=6), counters=counters, **timers(201))[1]
        assert [id for id in found if id != "may-have-answered"] == ids


def test_overflows_are_not_laid_to_a_listener_whose_clients_only_ask_again() -> None:
    """Its drops are SYNs that were sent again; the queue of the other one overflows."""
    deaf = listener(port=80, inode=1, cookie=1, limit=4096, drops=300)
    slow = listener(port=81, inode=2, cookie=2, limit=16, drops=40, accept_queue=3)
    before = [deaf, listener(port=81, inode=2, cookie=2, limit=16, drops=20, accept_queue=0)]
    counters, rates = {"ListenOverflows": 400, "ListenDrops": 400}, {"ListenOverflows": 40, "ListenDrops": 40}
    rows = many(20, port=80, retransmits=8, expires_ms=500)
    given = {"settings": {"somaxconn": 4096}, "timeouts": np.full(20, 2, dtype=np.uint8)}
    verdict, ids = second_look(rows, deaf, slow, first=before, counters=counters, rates=rates, **given)
    assert "somaxconn-clamp" not in ids
    assert next(f for f in verdict.findings if f.id == "backlog-small").at.port == 81


@pytest.mark.parametrize(("held", "found"), [(131, False), (200, True)])
def test_a_dump_of_a_full_queue_shows_a_few_more_than_it_takes(held: int, found: bool) -> None:
    """Those that left while it was dumped, and those that came: no reopened connections where eBPF read no length."""
    rates = {"PassiveOpens": 400, "SyncookiesSent": 250, "SyncookiesRecv": 250}
    assert ("timewait-reopen" in second_look(many(held, expires_ms=400), listener(limit=128), rates=rates)[1]) is found


@pytest.mark.parametrize(("state", "named"), [("T", True), ("S", False)])
def test_beside_a_stopped_program_that_was_looked_at_once_cookies_are_those_of_another_listener(
    state: str, named: bool
) -> None:
    """How many it accepted meanwhile takes a second look at its queue; one that is stopped accepts none."""
    stuck = listener(port=80, accept_queue=129, limit=128, inode=1, cookie=5)
    counters = {"ListenOverflows": 40, "ListenDrops": 60, "SyncookiesSent": 300, "SyncookiesRecv": 290}
    now = sample([], [stuck, listener(port=81, limit=4, drops=20, inode=2, cookie=6)], owners=WEB, counters=counters)
    rates = {"ListenOverflows": 9.0, "SyncookiesSent": 90.0, "SyncookiesRecv": 88.0, "PassiveOpens": 50.0}
    model = replace(build(now.with_part(Workers(100.0, {7: WorkerState(7, 1, state, ("x",))}))), rates=rates)
    ids = [found.id for found in judge(model, between_s=1.2).findings]
    assert ids[0] == "app-not-accepting"
    assert ("backlog-small" in ids) is named


def test_a_queue_full_of_those_that_nobody_answers_is_not_too_short_for_the_traffic() -> None:
    """Cookies come back beside a flood too: a longer queue would fill as well."""
    rates = {"SyncookiesSent": 178.0, "SyncookiesRecv": 99.0, "PassiveOpens": 120.0}
    counters = {"SyncookiesSent": 900, "SyncookiesRecv": 500}
    full = listener(limit=256)
    assert "backlog-small" not in second_look(silent(256), full, rates=rates, counters=counters)[1]
    young = many(256, retransmits=0, expires_ms=900)
    assert "backlog-small" in second_look(young, full, rates=rates, counters=counters)[1]


def test_syns_that_are_dropped_now_are_critical_though_the_queue_has_a_place_just_now() -> None:
    asked = many(45, retransmits=0, expires_ms=900)
    settings, counters = {"tcp_syncookies": 0}, {"TCPReqQFullDrop": 900}
    values: dict[str, Any] = {"settings": settings, "counters": {**counters, "ListenDrops": 900}}
    rates = {"ListenDrops": 400.0, "TCPReqQFullDrop": 400.0, "PassiveOpens": 80.0}
    verdict, ids = second_look(asked, listener(limit=49), rates=rates, **values)
    assert (ids[0], verdict.level) == ("cookies-off", Level.CRITICAL)
    assert verdict.findings[0].number("dropped_syns_per_s") == 400
    assert second_look(asked, listener(limit=49), rates={"PassiveOpens": 80.0}, **values)[0].level is Level.WARNING


def test_clients_in_the_reserve_of_tcp_max_syn_backlog_reopen_no_connections_and_meet_no_somaxconn() -> None:
    """Peers that finished before get into the last quarter (`tcp_peer_is_proven()`): 14 of 12 is no surprise."""
    read = np.zeros(1, dtype=QUEUES)
    read["known"], read["qlen"] = True, 14
    settings = {"tcp_syncookies": 0, "tcp_max_syn_backlog": 16, "somaxconn": 4096}
    asked = many(14, retransmits=0, expires_ms=950)
    _, ids = second_look(asked, listener(limit=4096), queues=read, settings=settings, rates={"ListenDrops": 900})
    assert ids == ["cookies-off", "syn-backlog-reserve"]
