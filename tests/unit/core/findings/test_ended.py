"""A flood that is over is told as such: its connections stay, its SYNs do not come any more."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Look, Release
from halfopen.core.sample import ListenerOptions
from halfopen.core.sample.guard import FoundGuard, GuardCounts, Guards
from halfopen.present.findings.sentences import say
from rows import listener, request
from verdicts import INTERVAL_S, arrivals, many, releases, second_look, silent, still_coming

ONE_HOST = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(60)]
ONE_NETWORK = [request(f"198.18.7.{i + 1}", retransmits=2, expires_ms=500, cookie=i + 1) for i in range(60)]
HONEST = {"192.0.2.77": {"syns": 4, "acks": 4, "finished": 4}}


def test_a_flood_whose_last_syn_came_seconds_ago_is_over() -> None:
    verdict, ids = second_look(silent(200), listener(limit=100_000), parts=[arrivals(HONEST)])
    assert ids[0] == "spoofed-flood"
    assert verdict.level is Level.NOTICE
    [found, *_] = verdict.findings
    assert found.number("last_syn_s") == pytest.approx(6.5, abs=0.2)
    assert found.number("given_up_s") == pytest.approx(63 - 6.5, abs=0.2)
    assert found.count("came_between") == 0
    assert not found.has("unanswered_per_s")
    said = say(found)
    assert "the SYN flood on :8080 from forged addresses is over: the last SYN came 6.5 s ago" in said
    assert "200 still wait, and the kernel gives up the last of them within 56 s" in said
    assert "are never answered" not in said


def test_waiting_is_a_cure_and_a_release_another() -> None:
    verdict, _ = second_look(silent(200), listener(limit=100_000))
    assert [type(cure[0]) for cure in verdict.next[:2]] == [Look, Release]
    # Where the queue is short of room a release is better.
    verdict, _ = second_look(silent(200), listener(limit=300))
    assert isinstance(verdict.next[0][0], Release)


def test_a_flood_that_goes_on_is_not_over() -> None:
    verdict, ids = second_look(still_coming(200))
    assert (ids[0], verdict.level) == ("spoofed-flood", Level.WARNING)
    assert verdict.findings[0].has("unanswered_per_s")


def test_a_flood_that_repeats_its_addresses_and_ports_goes_on() -> None:
    """Each of its SYNs meets a connection that waits already, and makes no new one."""
    again = {**HONEST, **{f"{20 + i % 100}.{i // 100}.{i % 250}.7": {"syns": 2, "repeats": 2} for i in range(200)}}
    verdict, ids = second_look(silent(200), listener(limit=100_000), parts=[arrivals(again)])
    assert (ids[0], verdict.level) == ("spoofed-flood", Level.WARNING)
    found = verdict.findings[0]
    assert not found.has("last_syn_s")
    assert found.number("unanswered_per_s") == 800


def test_a_flood_whose_syns_a_guard_answers_is_not_over() -> None:
    """They enter no queue and no counter of the kernel."""

    def armed(answered: int, accepted: int) -> FoundGuard:
        counts = GuardCounts(answered=answered, accepted=accepted)
        return FoundGuard(7, 1, (1,), (3,), 5.0, True, 0.25, counts)

    queue, earlier = listener(limit=1000), armed(1000, 40)
    flooded = armed(2540, 80)
    more: Any
    for more in (
        {"parts": [Guards((flooded,), earlier=(earlier,))]},
        {"parts": [Guards((flooded,))], "first_parts": [Guards((earlier,))]},
    ):
        verdict, ids = second_look(silent(200), queue, **more)
        assert (ids[0], verdict.level) == ("spoofed-flood", Level.WARNING)
        [found, *_] = verdict.findings
        assert found.number("cookies_unanswered_per_s") == pytest.approx(1500 / INTERVAL_S, rel=0.01)
        assert "the queue is full" not in say(found)
    # A guard that has answered nothing since, or only clients, changes nothing.
    for later in (earlier, armed(1300, 340)):
        verdict, _ = second_look(silent(200), queue, parts=[Guards((later,), earlier=(earlier,))])
        assert verdict.findings[0].has("last_syn_s")


def test_a_flood_is_not_over_where_a_guard_came_since_the_look_before() -> None:
    """The guard answered SYNs of the flood since it was armed; how many in this interval is not known."""
    new = FoundGuard(7, 1, (1,), (3,), 5.0, True, 0.25, GuardCounts(answered=600))
    queue = listener(limit=1000)
    more: Any
    for more in ({"parts": [Guards((new,))]}, {"parts": [Guards((new,))], "first_parts": [Guards()]}):
        verdict, ids = second_look(silent(200), queue, **more)
        assert ids[0] == "spoofed-flood"
        assert not verdict.findings[0].has("last_syn_s")
    # Armed since the look before: all that it answered came in this interval.
    [found, *_] = second_look(silent(200), queue, parts=[Guards((replace(new, began_s=1e9),))])[0].findings
    assert not found.has("last_syn_s")
    assert found.number("cookies_unanswered_per_s") == pytest.approx(600 / INTERVAL_S, rel=0.01)


def test_where_a_listener_defers_timers_hide_the_young() -> None:
    """Those of the last second count as deferred there; without eBPF a flood that goes on looked as if it were over."""
    deferring = listener(limit=100_000, inode=1)
    options = {1: ListenerOptions(defer_accept_s=30)}
    verdict, ids = second_look(silent(200), deferring, options=options)
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].has("unanswered_per_s")
    assert second_look(silent(200), deferring)[0].findings[0].has("last_syn_s")


def test_syns_that_were_counted_have_the_last_word() -> None:
    """They come, and are not in the queue: whatever keeps them out, it is not over."""
    flooding = {f"20.0.{i // 250}.{i % 250}": {"syns": 1} for i in range(100)}
    verdict, _ = second_look(silent(200), parts=[arrivals({**HONEST, **flooding})])
    assert verdict.level is Level.WARNING
    # Those of clients that finish are none of it.
    busy = {"192.0.2.77": {"syns": 500, "acks": 500, "finished": 499}}
    verdict, _ = second_look(silent(200), parts=[arrivals(busy)])
    assert verdict.level is Level.NOTICE


@pytest.mark.parametrize("rates", [{"ListenDrops": 150}, {"SyncookiesSent": 150}])
def test_where_syns_find_no_room_ages_tell_nothing(rates: dict[str, float]) -> None:
    verdict, ids = second_look(silent(200), listener(limit=200), rates=rates)
    assert ids[0] == "spoofed-flood"
    assert verdict.level >= Level.WARNING


@pytest.mark.parametrize("requests", [ONE_HOST, ONE_NETWORK], ids=["host", "network"])
def test_the_same_of_a_few_hosts_and_of_a_network(requests: list[Any]) -> None:
    verdict, ids = second_look(requests, parts=[arrivals({"198.18.0.2": {"acks": 1}})])
    assert ids[0] in ("few-sources-flood", "prefix-flood")
    assert verdict.findings[0].level is Level.NOTICE
    assert "is over: the last SYN came" in say(verdict.findings[0])
    assert releases(verdict)


def test_clients_under_way_do_not_hide_the_end() -> None:
    """Beside 300/s that finish, thirty are half-open at any moment."""
    under_way = many(30, expires_ms=950)
    for i, row in enumerate(under_way):
        row["cookie"], row["remote_port"] = 5000 + i, 20_000 + i
    verdict, ids = second_look([*silent(600), *under_way], rates={"PassiveOpens": 300})
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].number("last_syn_s") == pytest.approx(6.5, abs=0.2)


def test_it_stays_critical_where_the_rest_of_it_turns_clients_away() -> None:
    verdict, _ = second_look(silent(200), listener(limit=200), settings={"tcp_syncookies": 0})
    assert verdict.level is Level.CRITICAL
    assert "they still fill the queue (200 of 200)" in say(verdict.findings[0])
