"""Who finishes handshakes is never accused, and who asks again is a client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Release
from halfopen.present.findings.sentences import say
from hosts_made import PROXY, asked, from_hosts, honest, late
from rows import listener, raw, request
from verdicts import arrivals, many, peers, releases, second_look, silent, still_coming


def test_a_host_that_finishes_nothing_is_named_beside_any_number_that_do() -> None:
    hosts = [PROXY, "203.0.113.7"]
    seen = arrivals({**honest(), **asked(*hosts)})
    verdict, ids = second_look(from_hosts(hosts, 40), rates={"PassiveOpens": 1000}, parts=[seen])
    assert ids[0] == "few-sources-flood"
    found = verdict.findings[0]
    assert (found.count("finished_by_them"), found.count("distinct_sources")) == (0, 2)
    assert sorted(str(s) for action in releases(verdict) for s in action.filter.sources) == [
        f"{PROXY}/32",
        "203.0.113.7/32",
    ]


@pytest.mark.parametrize("parts", [[arrivals({PROXY: {"syns": 90, "finished": 5}})], [peers({PROXY: 200.0})]])
@pytest.mark.parametrize("rate", [0, 10, 1000])
def test_a_host_that_finishes_others_is_never_accused(parts: list[Any], rate: int) -> None:
    """A proxy, a CDN, a load balancer; now by eBPF, or lately by the kernel's memory."""
    verdict, ids = second_look(from_hosts([PROXY], 400), rates={"PassiveOpens": rate}, parts=parts)
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


def test_a_network_in_which_somebody_finishes_is_never_accused() -> None:
    hosts = [f"198.18.7.{i}" for i in range(1, 61)]
    for part in (arrivals({"198.18.7.200": {"syns": 1, "finished": 1}}), peers({"198.18.7.200": 900.0})):
        verdict, ids = second_look(from_hosts(hosts, 2), parts=[part])
        assert not any("flood" in id for id in ids)
        assert not releases(verdict)


@pytest.mark.parametrize(("others", "flooded"), [(150, False), (3, True)])
def test_a_few_that_vanish_beside_many_that_finish_are_no_flood(others: int, flooded: bool) -> None:
    """Some five a second of one network, over a minute."""
    vanished = [
        request(f"198.18.{i % 250}.7", source_port=1024 + i, cookie=i + 1, retransmits=1 + i % 5, expires_ms=500)
        for i in range(300)
    ]
    verdict, found = second_look(
        vanished, listener(limit=4096), rates={"PassiveOpens": 4 * others}, parts=[arrivals(honest(others))]
    )
    assert any("flood" in id for id in found) is flooded
    assert bool(releases(verdict)) is flooded


def test_a_wide_network_is_named_as_such() -> None:
    hosts = [f"198.18.{i}.7" for i in range(120)]
    verdict, ids = second_look(from_hosts(hosts, 1), rates={"PassiveOpens": 400}, parts=[arrivals(honest())])
    assert ids[0] == "prefix-flood"
    assert verdict.findings[0].text("prefix") == "198.18.0.0/16"
    [action] = releases(verdict)
    assert [str(source) for source in action.filter.sources] == ["198.18.0.0/16"]


def test_the_busy_port_does_not_hide_a_flood_of_another() -> None:
    """By the namespace's counters 1,000 finish; at the flooded listener none does."""
    busy, flooded = listener(port=80, inode=2), listener(limit=100_000)
    seen = arrivals({f"99.1.{i}.1 80": {"syns": 20, "finished": 20} for i in range(25)})
    verdict, ids = second_look(still_coming(200), busy, flooded, rates={"PassiveOpens": 1000}, parts=[seen])
    assert ids[0] == "spoofed-flood"
    assert verdict.findings[0].number("completions_per_s") == 0
    assert verdict.findings[0].at.port == 8080
    assert "are never answered, no handshake finished meanwhile;" in say(verdict.findings[0])
    assert "spoofed-flood" not in second_look(silent(200), busy, flooded, rates={"PassiveOpens": 1000})[1]
    # By the counters nobody knows at which listener 20 a second finish.
    verdict, ids = second_look(still_coming(200), busy, flooded, rates={"PassiveOpens": 20})
    assert ids[0] == "spoofed-flood"
    assert "clients get in (20/s in the whole namespace);" in say(verdict.findings[0])
    seen = arrivals({f"99.1.{i}.1": {"syns": 1, "finished": 1} for i in range(10)})
    verdict, _ = second_look(still_coming(200), busy, flooded, rates={"PassiveOpens": 20}, parts=[seen])
    assert "clients get in (20/s);" in say(verdict.findings[0])


def test_a_scan() -> None:
    rows = {f"203.0.113.9 {port}": {"syns": 6, "resets": 6} for port in (22, 80, 443, 8080)}
    verdict, ids = second_look(many(3), rates={"EmbryonicRsts": 48}, parts=[arrivals({**honest(), **rows})])
    assert ids == ["scan"]
    found = verdict.findings[0]
    assert (found.text("source"), found.count("ports"), found.level) == ("203.0.113.9", 4, Level.NOTICE)
    assert found.number("resets_per_s") == 48


@pytest.mark.parametrize(
    "counts", [{"syns": 6, "finished": 6}, {"syns": 6, "resets": 1}, {"syns": 6, "resets": 6, "finished": 6}]
)
def test_no_scan_is_a_client_of_many_ports_that_finishes(counts: dict[str, int]) -> None:
    rows = {f"203.0.113.9 {port}": counts for port in (22, 80, 443, 8080)}
    assert "scan" not in second_look(many(3), parts=[arrivals(rows)])[1]


def test_one_port_reset_again_and_again_is_no_scan() -> None:
    assert "scan" not in second_look(many(3), parts=[arrivals({PROXY: {"syns": 60, "resets": 60}})])[1]


def test_a_flood_that_only_began_shows_by_its_cookies() -> None:
    rates = {"SyncookiesSent": 2000, "SyncookiesRecv": 4, "PassiveOpens": 6}
    young = many(17, retransmits=1, expires_ms=1200)
    verdict, ids = second_look(young, listener(limit=16), rates=rates)
    assert ids[0] == "spoofed-flood"
    assert not [action for action in releases(verdict) if isinstance(action, Release)]
    # Younger than a round trip: they may be clients.
    assert second_look(many(17, expires_ms=400), listener(limit=16), rates=rates)[1] == ["cannot-tell"]


@pytest.mark.parametrize(("rtt_s", "named"), [(0.05, True), (0.8, True), (1.2, False)])
def test_the_first_of_a_far_crowd_are_no_flood_before_their_round_trip_is_over(rtt_s: float, named: bool) -> None:
    """None of them has sent a cookie back; those who were here before are as far away."""
    rates = {"SyncookiesSent": 600, "SyncookiesRecv": 0, "PassiveOpens": 6}
    begun = many(65, retransmits=1, expires_ms=1200)
    known = peers({f"99.1.{i}.1": 9.0 for i in range(20)}, rtt_s)
    _, ids = second_look(begun, listener(limit=64), rates=rates, parts=[known, arrivals({})])
    assert any("flood" in id for id in ids) is named


def test_a_second_is_no_time_where_the_kernel_gives_up_after_three() -> None:
    """With one retry: honest clients 1.4 s away, of which hardly any was here before."""
    one_retry = {"settings": {"tcp_synack_retries": 1}}
    far = [*many(200, expires_ms=300), *many(160, retransmits=1, expires_ms=1700)]
    _, ids = second_look(far, rates={"PassiveOpens": 150}, **one_retry)
    assert not any("flood" in id for id in ids)
    # Those of a flood stay until the kernel gives them up.
    rows = [*many(300, retransmits=1, expires_ms=300), *many(60, retransmits=1, expires_ms=1500)]
    assert second_look(rows, rates={"PassiveOpens": 5}, **one_retry)[1][0] == "spoofed-flood"


@pytest.mark.parametrize(("ago_s", "each_s", "rates", "accused"), [
    (4.0, 0.1, {}, False),
    (0.2, 0.1, {}, True),  # by chance none in half a second
    (4.0, 4.0, {}, True),  # they come seldom
    (4.0, 0.1, {"PassiveOpens": 4}, True),
    (4.0, 0.1, {"ListenDrops": 90}, True),
    (300.0, 0.1, {}, True),
])  # fmt: skip
def test_clients_that_all_vanish_at_once_are_an_outage_and_no_flood(
    ago_s: float, each_s: float, rates: dict[str, float], accused: bool
) -> None:
    """As long as there is room, a flood keeps no client from finishing."""
    known = peers({f"99.{i}.1.1": ago_s + each_s * i for i in range(60)})
    verdict, ids = second_look(still_coming(300), rates=rates, parts=[known, arrivals({})])
    assert any("flood" in id for id in ids) is accused
    if not accused:
        assert ids == ["cannot-tell"]
        assert not releases(verdict)


def test_a_flood_is_named_beside_a_program_that_does_not_accept() -> None:
    """Its clients finish nothing either, and that is no outage."""
    known = peers({f"99.{i}.1.1": 4.0 + 0.1 * i for i in range(60)})
    stuck = listener(port=81, inode=2, cookie=2, accept_queue=17, limit=16)
    _, ids = second_look(still_coming(300), listener(limit=1000), stuck, parts=[known, arrivals({})])
    assert ids[:2] == ["app-not-accepting", "spoofed-flood"]


def test_those_that_last_are_not_called_young_because_their_sources_are_known() -> None:
    """A third of them asks again, so that neither SYN-ACKs nor last ACKs alone are lost."""
    clients = [f"10.9.{i}.7" for i in range(90)]
    silent_ones = from_hosts(clients[:60], 1)
    again = [request(h, retransmits=8, expires_ms=500, cookie=900 + i) for i, h in enumerate(clients[60:])]
    verdict, ids = second_look(
        silent_ones + again,
        rates={"PassiveOpens": 60},
        parts=[peers({**dict.fromkeys(clients, 30.0), "99.1.1.1": 0.1})],
        timeouts=np.full(90, 2, dtype=np.uint8),
    )
    assert ids[0] == "cannot-tell"
    said = say(verdict.findings[0])
    assert "90 are half-open, 90 of them for long" in said
    assert "young" not in said


@pytest.mark.parametrize(("hosts", "id"), [(1, "few-sources-flood"), (60, "prefix-flood")])
def test_an_ipv6_network_is_one_host_or_many(hosts: int, id: str) -> None:
    requests = from_hosts([f"2001:db8:66::{i + 1:x}" for i in range(hosts)], 120 // hosts, family=10)
    local = [row.copy() for row in requests]
    for row in local:
        row["local_address"] = np.void(raw("2001:db8::1", 10))
    verdict, ids = second_look(local, listener("::", limit=100_000), parts=[arrivals(honest())])
    assert ids[0] == id
    assert verdict.findings[0].text("prefix") == "2001:db8:66::/64"


def test_clients_of_one_ipv6_network_are_many() -> None:
    """Sources are known by their first 64 bits; how many there are shows by the rest."""
    hosts = [f"2001:db8:77:1::{i + 1:x}" for i in range(30)]
    requests = from_hosts(hosts, 3, family=10)
    for row in requests:
        row["local_address"] = np.void(raw("2001:db8::1", 10))
    memory = peers(dict.fromkeys(hosts[:9], 9.0))
    verdict, ids = second_look(requests, listener("::", limit=100_000), parts=[memory, arrivals(honest())])
    assert ids[0] == "acks-lost"
    assert verdict.findings[0].count("finished_lately") == 9
    one = from_hosts(hosts[:1], 90, family=10)
    for row in one:
        row["local_address"] = np.void(raw("2001:db8::1", 10))
    _, ids = second_look(one, listener("::", limit=100_000), parts=[memory, arrivals(honest())])
    assert ids == ["cannot-tell"]


def test_without_ebpf_a_scan_cannot_be_told_from_others_who_reset() -> None:
    rates = {"EmbryonicRsts": 40, "OutRsts": 200, "PassiveOpens": 10}
    verdict, ids = second_look([], rates=rates)
    assert ids == ["cannot-tell"]
    assert verdict.findings[0].number("EmbryonicRsts_per_s") == 40
    # A server that resets for want of room, and one whose checks reset.
    assert "cannot-tell" not in second_look([], rates={**rates, "ListenOverflows": 40})[1]
    assert "cannot-tell" not in second_look([], rates={**rates, "OutRsts": 0, "PassiveOpens": 100})[1]
    assert second_look([], rates=rates, parts=[arrivals({"203.0.113.9": {"syns": 20, "resets": 20}})])[1] == []


def test_a_flood_and_a_slow_path_are_both_told_before_a_setting() -> None:
    _, ids = second_look(silent(1000), rates={"PassiveOpens": 140}, parts=[late(9, 30)])
    assert ids == ["spoofed-flood", "slow-path", "release-time-long"]


def test_no_listener_is_released_on_which_slow_or_deaf_clients_wait() -> None:
    verdict, ids = second_look(silent(1000), rates={"PassiveOpens": 140}, parts=[late(9, 30)])
    assert ids[0] == "spoofed-flood"
    assert not releases(verdict)
    deaf = from_hosts([f"10.9.{i}.7" for i in range(8)], 4, retransmits=8)
    flood = still_coming(1000)
    timers = {"timeouts": np.array([*(int(row["retransmits"][0]) for row in flood), *[2] * len(deaf)], dtype=np.uint8)}
    verdict, ids = second_look([*flood, *deaf], parts=[arrivals(honest(2))], **timers)
    # Who hears nothing does not get in, the others do.
    assert ids[:2] == ["synacks-lost", "spoofed-flood"]
    assert not releases(verdict)
    assert releases(second_look(silent(1000), parts=[arrivals(honest(2))])[0])


def test_a_few_hosts_of_one_network_are_released_together() -> None:
    hosts = [f"198.18.0.{i}" for i in range(1, 6)]
    verdict, ids = second_look(from_hosts(hosts, 30), rates={"PassiveOpens": 40}, parts=[arrivals(honest(10))])
    assert ids[0] == "few-sources-flood"
    found = verdict.findings[0]
    assert (found.text("prefix"), found.number("share"), found.count("distinct_sources")) == ("198.18.0.0/24", 1.0, 5)
    assert [str(source) for action in releases(verdict) for source in action.filter.sources] == ["198.18.0.0/24"]
    # A neighbour that finishes handshakes is spared: each host for itself.
    seen = arrivals({**honest(10), "198.18.0.99": {"syns": 1, "finished": 1}})
    verdict, ids = second_look(from_hosts(hosts, 30), rates={"PassiveOpens": 42}, parts=[seen])
    assert ids[0] == "few-sources-flood"
    assert {str(s) for action in releases(verdict) for s in action.filter.sources} <= {f"{host}/32" for host in hosts}


def test_many_scanners_are_told_together() -> None:
    rows = {f"99.9.9.{i} {port}": {"syns": 4 + i, "resets": 4 + i} for i in range(1, 31) for port in (22, 23, 25, 8080)}
    verdict, ids = second_look([], rates={"EmbryonicRsts": 480}, parts=[arrivals(rows)])
    assert ids == ["scan"]
    assert "30 sources, most of all 99.9.9.30, send SYNs" in say(verdict.findings[0])
    assert verdict.findings[0].count("ports") == 4
