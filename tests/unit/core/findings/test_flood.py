"""Floods: what decides is the share that is never answered, not the number that is half-open."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Protect
from halfopen.core.sample import ListenerOptions
from halfopen.core.sample.guard import FoundGuard, GuardCounts, Guards
from halfopen.core.sample.requests import Requests
from halfopen.core.tune.keys import COOKIES, SYNACK
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener, request, sample
from verdicts import arrivals, many, releases, second_look, silent, still_coming, verdict_of

ONE_HOST = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=i + 1) for i in range(60)]
ONE_NETWORK = [request(f"198.18.7.{i + 1}", retransmits=2, expires_ms=500, cookie=i + 1) for i in range(60)]


def test_a_flood_from_forged_sources() -> None:
    verdict, ids = second_look(still_coming(200))
    assert ids == ["spoofed-flood", "release-time-long"]
    assert verdict.level is Level.WARNING
    found = verdict.findings[0]
    assert (found.count("lasting"), found.count("distinct_sources"), found.count("repeated")) == (200, 200, 0)
    assert found.number("completions_per_s") == 0
    assert found.number("unanswered_share") > 0.5
    assert "few-sources-flood" in found.rules_out


@pytest.mark.parametrize(("took_s", "named"), [(3.0, True), (0.0, False)])
def test_a_long_reading_makes_no_client_of_a_flood(took_s: float, named: bool) -> None:
    """Ages are as of its beginning, and the timers went on sending SYN-ACKs while it lasted."""
    ages = np.linspace(0.1, 14.0, 400, dtype=np.float32)
    sent = np.log2(ages + took_s + 1).astype(np.uint8) if took_s else np.full(400, 4, np.uint8)
    rows = [one for one, again in zip(many(400), sent.tolist(), strict=True) for one["retransmits"] in (again,)]
    now = sample(rows, [listener(limit=100_000)], counters={"PassiveOpens": 1000}, monotonic_s=100.5)
    part = Requests(np.concatenate(rows), 400, ages_s=ages, acked=np.zeros(400, bool), took_s=took_s)
    before = replace(now, monotonic_s=100.0)
    verdict = judge(build(replace(now, parts=(part,)), before), build(before))
    assert (verdict.findings[0].id == "spoofed-flood") is named
    if named:
        assert verdict.findings[0].count("repeated") == 0


def test_a_release_is_the_last_of_its_cures() -> None:
    verdict, _ = second_look(still_coming(200), listener(limit=400))
    assert verdict.next[0] == (ChangeSetting("self", SYNACK, 2, "spoofed-flood"),)
    [action] = releases(verdict)
    assert (action.filter.older_than_s, action.filter.listeners) == (3.0, ((None, 8080),))
    kinds = [type(cure[0]) for cure in verdict.next]
    assert kinds.index(ChangeListener) < kinds.index(type(action))


def test_it_is_critical_where_clients_are_turned_away() -> None:
    verdict, _ = second_look(silent(200), rates={"ListenDrops": 40})
    assert verdict.level is Level.CRITICAL
    # An accept queue that overflows is no matter of the flood.
    verdict, _ = second_look(still_coming(200), rates={"ListenDrops": 40, "ListenOverflows": 40})
    assert verdict.findings[0].id == "spoofed-flood"
    assert verdict.findings[0].level is Level.WARNING
    off = {"tcp_syncookies": 0}
    verdict, ids = second_look(silent(200), listener(limit=200), settings=off)
    assert (verdict.level, ids[0]) == (Level.CRITICAL, "spoofed-flood")
    assert verdict.next[0] == (ChangeSetting("self", COOKIES, 1, "spoofed-flood"),)


def test_syns_that_are_dropped_are_part_of_the_rate() -> None:
    """With cookies off a full queue hides most of a flood, and takes in what a release lets go."""
    verdict, _ = second_look(
        silent(200),
        listener(limit=200),
        settings={"tcp_syncookies": 0},
        rates={"ListenDrops": 970, "ListenOverflows": 10},
    )
    found = verdict.findings[0]
    assert found.number("dropped_syns_per_s") == 960
    said = say(found)
    assert ": 960 SYNs/s are dropped, including those of clients, and " in said
    assert "more find room but are never answered; " in said
    assert "After a release, the queue fills up within 0.2 s" in said
    assert "dropped" not in say(second_look(silent(200))[0].findings[0])


@pytest.mark.parametrize(
    ("requests", "id"), [(ONE_HOST, "few-sources-flood"), (ONE_NETWORK, "prefix-flood")], ids=["host", "network"]
)
def test_a_few_hosts_or_one_network(requests: list[object], id: str) -> None:
    verdict, ids = second_look(requests)
    assert ids[0] == id
    assert verdict.findings[0].text("prefix").startswith("198.18.")
    assert [str(source) for action in releases(verdict) for source in action.filter.sources]


@pytest.mark.parametrize("requests", [ONE_HOST, ONE_NETWORK])
def test_no_source_is_released_that_may_complete_handshakes(requests: list[object]) -> None:
    """One proxy, or one network behind it: nothing tells its finished handshakes from others."""
    for rate in (2, 10, 100, 1000):
        verdict, _ = second_look(requests, rates={"PassiveOpens": rate})
        # A release of the whole listener would take the same clients.
        assert not releases(verdict)


@pytest.mark.parametrize("rate", [100, 300, 1000])
def test_a_small_share_of_healthy_traffic_is_no_flood(rate: int) -> None:
    """60 that last, while hundreds a second finish."""
    for requests in (silent(60), ONE_HOST, ONE_NETWORK):
        verdict, ids = second_look(requests, rates={"PassiveOpens": rate})
        assert not any("flood" in id for id in ids)
        assert verdict.level <= Level.NOTICE
        assert not releases(verdict)


def test_a_flood_in_a_short_queue_shows_by_its_cookies() -> None:
    verdict, ids = second_look(silent(17), listener(limit=16), rates={"SyncookiesSent": 5000, "SyncookiesRecv": 10})
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].number("cookies_unanswered_per_s") == pytest.approx(4990)


def test_a_full_queue_adds_nothing_to_the_rate_of_the_cookies() -> None:
    """What is in it came before it was full: added, a flood of 400/s was said to be one of 512/s."""
    rates = {"SyncookiesSent": 400, "SyncookiesRecv": 0}
    verdict, ids = second_look(silent(513), listener(limit=512), rates=rates)
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].number("unanswered_per_s") == pytest.approx(400)
    verdict, _ = second_look(still_coming(513), listener(limit=512), rates=rates)
    came = 513 / 3
    assert verdict.findings[0].number("unanswered_per_s") == pytest.approx(400 + came, rel=0.05)


def test_a_host_that_stands_out_in_a_flood_is_named_beside_it() -> None:
    forged = still_coming(400)
    one = [request(retransmits=2, expires_ms=500, source_port=i + 1024, cookie=9000 + i) for i in range(100)]
    verdict, ids = second_look(forged + one)
    assert ids[:2] == ["spoofed-flood", "few-sources-flood"]
    spoofed, few = verdict.findings[:2]
    assert (spoofed.count("lasting"), spoofed.count("distinct_sources")) == (400, 400)
    assert (few.count("lasting"), few.text("prefix"), few.number("share")) == (100, "198.18.0.1", 1.0)
    assert "few-sources-flood" not in spoofed.rules_out
    # As many of as many addresses are no few.
    each = [
        request(f"198.18.0.{i % 10}", retransmits=2, expires_ms=500, source_port=i + 1, cookie=9000 + i)
        for i in range(500)
    ]
    assert second_look(still_coming(500) + each)[1].count("few-sources-flood") == 0


def test_floods_of_two_ports_are_told_apart_with_a_rate_each() -> None:
    forged = still_coming(513)
    network = [
        request(f"198.18.7.{i % 100 + 1}", port=9090, retransmits=2, expires_ms=500, source_port=i + 1, cookie=9000 + i)
        for i in range(200)
    ]
    ports = listener(limit=512, cookie=1, inode=1), listener(port=9090, limit=4096, cookie=2, inode=2)
    verdict, ids = second_look(forged + network, *ports, rates={"SyncookiesSent": 400})
    assert ids[:2] == ["spoofed-flood", "prefix-flood"]
    spoofed, of_one = verdict.findings[:2]
    assert [one.listener and one.listener.port for one in (spoofed, of_one)] == [8080, 9090]
    # Cookies are those of the full queue, and the other one is not said to be full.
    assert spoofed.number("cookies_unanswered_per_s") == pytest.approx(400)
    assert of_one.number("cookies_unanswered_per_s") == 0
    assert of_one.number("unanswered_per_s") < 100
    assert "cookie" not in say(of_one)
    assert (of_one.text("prefix"), of_one.count("lasting")) == ("198.18.7.0/24", 200)


@pytest.mark.parametrize("packets", [True, False])
def test_a_rate_is_named_for_a_port_only_where_it_was_counted_there(packets: bool) -> None:
    """Two full queues: the places that each flood has tell nothing of how many SYNs come to which."""
    forged = still_coming(257)
    at = {"port": 9090, "retransmits": 2, "expires_ms": 500}
    network = [request(f"198.18.7.{i % 100 + 1}", source_port=i + 1, cookie=9000 + i, **at) for i in range(513)]
    ports = listener(limit=512, cookie=1, inode=1), listener(port=9090, limit=512, cookie=2, inode=2)
    seen = (arrivals({"20.0.0.7 8080": {"syns": 1900}, "198.18.7.1 9090": {"syns": 100}}),) if packets else ()
    verdict, _ = second_look(forged + network, *ports, rates={"SyncookiesSent": 4000}, parts=seen)
    found = {one.id: one for one in verdict.findings}
    spoofed, of_one = found["spoofed-flood"], found["prefix-flood"]
    assert [one.listener and one.listener.port for one in (spoofed, of_one)] == [8080, 9090]
    if packets:
        assert spoofed.number("unanswered_per_s") == pytest.approx(3800)
        assert of_one.number("unanswered_per_s") == pytest.approx(200)
        assert not any(one.has("unanswered_of") for one in (spoofed, of_one))
    else:
        for one in (spoofed, of_one):
            assert one.number("unanswered_per_s") >= 4000
            assert (one.text("unanswered_of"), one.text("completions_of")) == ("namespace", "namespace")
            assert "SYN-ACKs/s in the whole namespace are never answered" in say(one)
            assert "fills up within" not in say(one)


def test_a_flood_of_two_ports_is_not_said_to_be_of_one() -> None:
    forged = [*still_coming(200), *many(100, port=9090, retransmits=2, expires_ms=500)]
    ports = listener(limit=4096, cookie=1, inode=1), listener(port=9090, limit=4096, cookie=2, inode=2)
    verdict, ids = second_look(forged, *ports)
    assert (ids[0], verdict.findings[0].listener) == ("spoofed-flood", None)


@pytest.mark.parametrize("both", [True, False])
def test_dropped_syns_are_those_of_every_full_queue(both: bool) -> None:
    forged = [*still_coming(65), *many(4, port=9090)]
    ports = listener(limit=128, cookie=1, inode=1), listener(port=9090, limit=4 if both else 128, cookie=2, inode=2)
    verdict, _ = second_look(forged, *ports, rates={"ListenDrops": 900}, settings={"tcp_syncookies": 0})
    [flood] = [one for one in verdict.findings if one.id == "spoofed-flood"]
    assert flood.at.port == 8080
    assert ("900 SYNs/s in the whole namespace are dropped" in say(flood)) is both


def test_cookies_that_come_back_are_those_of_clients() -> None:
    _, ids = second_look(
        silent(17), listener(limit=16), rates={"SyncookiesSent": 5000, "SyncookiesRecv": 5000, "PassiveOpens": 5000}
    )
    assert not any("flood" in id for id in ids)


def test_the_rate_is_that_of_now_where_a_full_queue_admitted_hardly_any_before() -> None:
    """As after `tune listener --backlog`: those that last are the few of the short queue."""
    young = still_coming(3000)[3000:]
    verdict, ids = second_look([*silent(60), *young])
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].number("unanswered_per_s") == pytest.approx(1000, rel=0.01)
    assert verdict.findings[0].count("lasting") == 60
    # Just after, all that are more are too young to be told from clients.
    found = second_look([*silent(60), *young[:900]])[0].findings[0]
    assert found.number("unanswered_per_s") == pytest.approx(60 / 3.5, rel=0.01)
    assert found.number("entering_per_s") == pytest.approx(1000, rel=0.01)
    said = say(found)
    assert (
        ": 1,000 SYNs/s arrive now, too recently to judge; of those before, 17 SYN-ACKs/s were never answered; " in said
    )
    # At a steady rate, the rate of those that last is more certain.
    steady = second_look(still_coming(200))[0].findings[0]
    assert steady.number("unanswered_per_s") == pytest.approx(200 / 3.5, rel=0.01)
    assert not steady.has("entering_per_s")


def test_one_look_accuses_nobody() -> None:
    for requests in (silent(2000), ONE_HOST, ONE_NETWORK):
        verdict, ids = verdict_of(requests)
        assert ids == ["cannot-tell"]
        assert not releases(verdict)


def test_the_young_are_nobodys_flood() -> None:
    verdict, ids = second_look(many(2000, expires_ms=300))
    assert ids == ["cannot-tell"]
    assert not releases(verdict)


def test_background_noise_is_not_mentioned() -> None:
    assert second_look(silent(40))[1] == []


def test_a_deferring_listener_keeps_its_clients_out_of_it() -> None:
    verdict, ids = second_look(silent(200), listener(accept_queue=129), counters={"ListenOverflows": 9})
    assert "spoofed-flood" not in ids
    assert "may-have-answered" in ids
    assert not releases(verdict)


def test_where_answers_are_not_seen_that_is_said() -> None:
    """Once TCP_DEFER_ACCEPT is over the kernel sends the SYN-ACK again to who answered, as to who did not."""
    deferring = {"options": {1: ListenerOptions(defer_accept_s=1)}}
    told = "only eBPF can tell whether they answered and sent no data (TCP_DEFER_ACCEPT)"
    verdict, ids = second_look(ONE_HOST, listener(limit=100_000, inode=1), **deferring)
    assert ids[0] == "few-sources-flood"
    assert told in say(verdict.findings[0])
    assert told not in say(second_look(ONE_HOST)[0].findings[0])


def test_a_guard_is_proposed_where_this_host_can_arm_one() -> None:
    verdict, _ = second_look(still_coming(200), parts=(Guards(possible=True),))
    assert isinstance(verdict.next[0][0], Protect)
    assert command(verdict.next[0]) == "halfopen protect :8080 --for 10m"
    armed = FoundGuard(7, 1, (1,), (3,), 0.0, True, 0.25, GuardCounts())
    off = {"tcp_syncookies": 0}
    for parts, settings in (
        ((), {}),
        ((Guards(possible=False),), {}),
        ((Guards((armed,), possible=True),), {}),
        ((Guards(possible=True),), off),
    ):
        verdict, _ = second_look(still_coming(200), parts=parts, settings=settings)
        assert not any(isinstance(action, Protect) for cure in verdict.next for action in cure)


def _clients(networks: int, per_network: int = 4) -> dict[str, dict[str, int]]:
    """Clients that finish, of so many /24."""
    return {
        f"198.51.{at}.{i + 1}": {"syns": 1, "finished": 1, "acks": 1}
        for at in range(networks)
        for i in range(per_network)
    }


def test_a_flood_slower_than_the_clients_is_told_by_networks_from_which_nobody_finishes() -> None:
    """100 forged SYNs a second beside 120 handshakes that finish fill a queue of any length."""
    rates = {"PassiveOpens": 120.0}
    verdict, ids = second_look(still_coming(150), rates=rates, parts=[arrivals(_clients(15))])
    assert "spoofed-flood" in ids
    found = next(f for f in verdict.findings if f.id == "spoofed-flood")
    assert found.number("near_clients") == 0
    assert found.fact("unanswered_share").limit == 0.1
    # More of what waits at the listener may be clients.
    assert releases(verdict) == []
    # Without eBPF nobody counts who finishes.
    assert "spoofed-flood" not in second_look(still_coming(150), rates=rates)[1]
    # All clients come by one proxy: nothing is known of the others.
    assert "spoofed-flood" not in second_look(still_coming(150), rates=rates, parts=[arrivals(_clients(1, 60))])[1]


def test_who_has_neighbours_that_finish_is_no_flood() -> None:
    """Clients all over the world whose last ACKs are lost, some of each network."""
    silent = still_coming(150)
    numbers = {f"{20 + i % 100}.{i // 100}.{i % 250}.9": {"syns": 1, "finished": 1, "acks": 1} for i in range(60)}
    assert "spoofed-flood" not in second_look(silent, rates={"PassiveOpens": 120.0}, parts=[arrivals(numbers)])[1]
