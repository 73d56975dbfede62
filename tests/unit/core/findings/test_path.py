"""Real clients: far away, behind a lossy path, or where SYN-ACKs do not arrive."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.findings.cures import LookAtRoute
from halfopen.core.findings.finding import Level
from halfopen.core.findings.lasting import repeats
from halfopen.core.findings.verdict import judge
from halfopen.core.model.columns import Builder
from halfopen.core.model.model import build, columns_of
from halfopen.core.sample import Sample
from halfopen.core.sample.before_tcp import BeforeTcp, IpIn
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener, request, sample
from verdicts import arrivals, asking, many, releases, second_look, silent, timers, verdict_of


@pytest.mark.parametrize("n", [5, 12, 500])
def test_clients_that_ask_again_do_not_hear_us(n: int) -> None:
    verdict, ids = second_look(asking(n), **timers(n))
    assert ids == ["synacks-lost"]
    assert verdict.level is Level.WARNING
    assert verdict.findings[0].count("repeated") == n
    assert not releases(verdict)
    assert isinstance(verdict.next[0][0], LookAtRoute)


def test_one_look_is_enough_for_that() -> None:
    assert verdict_of(asking(12), **timers(12))[1] == ["synacks-lost"]


def test_four_are_a_chance() -> None:
    assert second_look(asking(4), **timers(4))[1] == []


def test_only_the_listener_that_is_cut_off_is_named() -> None:
    cut = asking(12, port=152)
    verdict, _ = second_look(cut, listener(port=151, inode=1), listener(port=152, inode=2), **timers(12))
    found = verdict.findings[0]
    assert (found.id, found.at.port) == ("synacks-lost", 152)


def test_a_repetition_is_more_than_the_timer_sends() -> None:
    for timeouts in range(4):
        rows = [request(retransmits=k, expires_ms=500) for k in (timeouts, 8)]
        columns = columns_of(sample(rows, [listener()], timeouts=np.full(2, timeouts, dtype=np.uint8)))
        assert repeats(columns, np.full(2, 5, dtype=np.uint8)).tolist() == [False, True]
        # Without the timer's count, more than the retries is all that tells.
        assert repeats(columns_of(sample(rows, [listener()])), np.full(2, 5, dtype=np.uint8)).tolist() == [False, True]


def test_a_lowered_setting_makes_no_repetition_of_what_the_timer_sent_before() -> None:
    """`tune apply --release-time 7s` in a flood: what is half-open since before was sent its SYN-ACK five times."""
    builder, ages_s = Builder(), np.full(2, 40.0, dtype=np.float32)
    builder.begin(listener())
    builder.add(
        np.concatenate([request(retransmits=k) for k in (5, 6)]), ages_s=ages_s, acked=np.zeros(2, dtype=np.bool_)
    )
    assert repeats(builder.take(), np.full(2, 2, dtype=np.uint8)).tolist() == [False, True]


@pytest.mark.parametrize(("n", "rate"), [(140, 100), (2200, 2200), (60, 60)])
def test_far_clients_that_finish_are_healthy(n: int, rate: int) -> None:
    verdict, ids = second_look(many(n, retransmits=1, expires_ms=1800), rates={"PassiveOpens": rate})
    assert ids == ["handshakes-finish"]
    assert verdict.level is Level.OK
    assert verdict.findings[0].number("handshake_s") == pytest.approx(n / rate, abs=0.01)
    assert not releases(verdict)


@pytest.mark.parametrize("counted", [True, False])
def test_those_of_one_listener_are_not_under_way_because_others_finish_at_another(counted: bool) -> None:
    """A rule drops the SYN-ACKs of one port: the kernel gives each request up after a second, as it sends the next."""
    cut = [one for i in range(65) for one in many(1, port=8081, expires_ms=1000 - 15 * i)]
    ports = listener(limit=128, cookie=1, inode=1), listener(port=8081, limit=128, cookie=2, inode=2)
    seen = (arrivals({"99.1.1.1 8080": {"syns": 15, "finished": 15}, "20.0.0.7 8081": {"syns": 33}}),)
    _, ids = second_look(cut, *ports, rates={"PassiveOpens": 30}, parts=seen if counted else ())
    assert ids == (["synacks-unsent"] if counted else ["cannot-tell"])


@pytest.mark.parametrize(
    ("lives_ms", "finished", "again", "found"),
    [(1000, 0, True, True), (1000, 40, True, False), (1900, 0, True, False), (1000, 0, False, False)],
    ids=["given up", "finished", "kept", "released"],
)
def test_who_is_given_up_at_the_second_synack_shows_that_none_can_be_sent(
    lives_ms: int, finished: int, again: bool, found: bool
) -> None:
    """`reqsk_timer_handler()` drops a request whose SYN-ACK it cannot send; the client begins a new one."""

    def asked(at_ms: int, done: int) -> Sample:
        rows = []
        for i in range(40):
            age_ms = (25 * i + at_ms) % lives_ms
            left_ms = 1000 - age_ms if age_ms < 1000 else 3000 - age_ms
            source = f"20.{0 if again else at_ms // 100}.{i}.7"
            at = {"source_port": 1024 + i, "cookie": 1000 * at_ms + i + 1}
            rows.append(request(source, retransmits=int(age_ms >= 1000), expires_ms=left_ms, **at))
        counters = {"PassiveOpens": done, "EmbryonicRsts": 0}
        return sample(rows, [listener(limit=128, cookie=1)], counters=counters, monotonic_s=100.0 + at_ms / 1000)

    earlier = asked(0, 0)
    verdict = judge(build(asked(500, finished), earlier), build(earlier))
    assert ("synacks-unsent" in [one.id for one in verdict.findings]) is found
    if found:
        assert "SYN-ACKs of :8080 do not leave this host: in 0.5 s the kernel gave up" in say(verdict.findings[0])
        assert [command(cure) for cure in verdict.next] == ["nft list ruleset"]


@pytest.mark.parametrize(
    ("seconds", "finished", "timeouts", "growing", "ids"),
    [
        (3.0, 300, 600, 0, ["synacks-unsent"]),
        (0.5, 50, 100, 0, ["cannot-tell"]),
        (3.0, 900, 600, 0, ["handshakes-finish"]),
        (3.0, 300, 0, 0, []),
        (3.0, 300, 600, 150, []),
    ],
    ids=["ended", "too short", "finish", "no timers", "a crowd"],
)
def test_requests_that_end_at_their_second_synack_beside_clients_that_finish(
    seconds: float, finished: int, timeouts: int, growing: int, ids: list[str]
) -> None:
    """Of new clients each: whose handshake was given up is not known without eBPF, but that as many end is."""

    def asked(first: int, n: int, at_s: float, counters: dict[str, int]) -> Sample:
        rows = []
        for i in range(n):
            at = {"source_port": 1024 + i, "cookie": first + i + 1, "expires_ms": 1000 - 1000 * i // n}
            rows.append(request(f"20.{first // 1000}.{i % 250}.{7 + i // 250}", retransmits=0, **at))
        return sample(rows, [listener(limit=4096, cookie=1)], counters=counters, monotonic_s=at_s)

    names = ("PassiveOpens", "EmbryonicRsts", "TCPTimeouts")
    earlier = asked(0, 300 - growing, 100.0, {**dict.fromkeys(names, 0), "PassiveOpens": 5000})
    risen = {"PassiveOpens": 5000 + finished, "EmbryonicRsts": 0, "TCPTimeouts": timeouts}
    verdict = judge(build(asked(1000, 300, 100.0 + seconds, risen), earlier), build(earlier))
    found = [one.id for one in verdict.findings]
    assert ("synacks-unsent" in found) is ("synacks-unsent" in ids)
    assert not ids or found == ids


@pytest.mark.parametrize(
    ("dropped", "overflows", "no_route", "found"),
    [(50, 0, 50, True), (50, 0, 10, False), (50, 50, 50, False), (3, 0, 3, False)],
    ids=["as many", "fewer", "a full accept queue", "hardly any"],
)
def test_syns_that_are_dropped_because_there_is_no_route_back(
    dropped: int, overflows: int, no_route: int, found: bool
) -> None:
    """`inet_csk_route_req()` counts OutNoRoutes, and the SYN is dropped."""
    lost = BeforeTcp(100.5, ip=IpIn(1200, 1100, 0, no_route), earlier=BeforeTcp(100.0, ip=IpIn(1000, 900, 0, 0)))
    web = listener(cookie=1, drops=100)
    verdict, ids = second_look(
        [],
        listener(cookie=1, drops=100 + dropped),
        first=[web],
        rates={"ListenDrops": dropped, "ListenOverflows": overflows},
        parts=(lost,),
    )
    assert ("no-route-back" in ids) is found
    if found:
        assert "are dropped because this host has no route back to their sources" in say(verdict.findings[0])
        assert [command(cure) for cure in verdict.next] == ["ip route show table all"]


def test_a_few_that_last_beside_many_that_finish_are_a_slow_path() -> None:
    verdict, ids = second_look(silent(60), rates={"PassiveOpens": 1000})
    assert ids == ["slow-path"]
    # With a full accept queue the kernel ignores ACKs, and handshakes are late for that reason.
    overflowing = {"PassiveOpens": 1000, "ListenOverflows": 40}
    assert "slow-path" not in second_look(silent(60), rates=overflowing)[1]
    assert verdict.level is Level.NOTICE


def test_a_slow_path_does_not_explain_a_full_queue() -> None:
    """A flood from a network with honest clients in it: nothing accuses the network, and nothing calls it harmless."""
    verdict, ids = second_look(silent(60), listener(limit=60), rates={"PassiveOpens": 1000})
    assert ids == ["cannot-tell", "slow-path"]
    assert verdict.level is Level.WARNING
    assert not releases(verdict)
    assert second_look(silent(60), listener(limit=100), rates={"PassiveOpens": 1000})[1] == ["slow-path"]


def test_how_long_handshakes_take_is_not_told_where_some_finish_by_cookie() -> None:
    """They did not wait in the queue: it holds 60 of those 0.6 s away, 400 a second of whom finish."""
    rates = {"PassiveOpens": 400, "SyncookiesSent": 300, "SyncookiesRecv": 300}
    verdict, ids = second_look(many(60, expires_ms=500), rates=rates)
    found = verdict.findings[ids.index("handshakes-finish")]
    assert not found.has("handshake_s")
    assert say(found) == "60 handshakes are under way and finish: 400/s, some of them by SYN cookie"


@pytest.mark.parametrize(("finished", "late", "lost"), [(6, 6, False), (6, 0, True), (2, 2, True)])
def test_clients_whose_round_trip_is_longer_than_their_timer_hear_the_synack(
    finished: int, late: int, lost: bool
) -> None:
    """All of them ask again, and about as many finish as come, each late."""
    seen = arrivals({f"99.{i}.0.9": {"syns": 1, "finished": 1, "late": int(i < late)} for i in range(finished)})
    _, ids = second_look(asking(80), rates={"PassiveOpens": 2 * finished}, parts=(seen,), **timers(80))
    assert ("synacks-lost" in ids) is lost


def test_a_rule_that_limits_a_rate_lets_some_second_synacks_out() -> None:
    def asked(first: int, at_s: float, counters: dict[str, int]) -> Sample:
        rows = []
        for i in range(300):
            timer = {"retransmits": 0, "expires_ms": 1000 - 1000 * i // 300}
            if i % 60 == 0:
                timer = {"retransmits": 1, "expires_ms": 900}
            rows.append(request(f"20.{first}.{i % 250}.{7 + i // 250}", source_port=1024 + i, cookie=i + 1, **timer))
        return sample(rows, [listener(limit=4096, cookie=1)], counters=counters, monotonic_s=at_s)

    earlier = asked(1, 100.0, {"PassiveOpens": 5000, "EmbryonicRsts": 0, "TCPTimeouts": 0})
    now = asked(2, 103.0, {"PassiveOpens": 5060, "EmbryonicRsts": 0, "TCPTimeouts": 800})
    assert judge(build(now, earlier), build(earlier)).findings[0].id == "synacks-unsent"
