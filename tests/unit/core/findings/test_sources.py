"""Who finishes handshakes is never accused, and who asks again is a client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.policy.actions import Release
from halfopen.core.sample.arrivals import Arrivals
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from rows import listener, raw, request
from verdicts import arrivals, many, peers, releases, second_look, silent, still_coming

PROXY = "198.18.0.1"


def from_hosts(hosts: list[str], each: int, **values: Any) -> list[Any]:
    """Each host with so many requests that last."""
    made = [(host, i) for host in hosts for i in range(each)]
    given = {"retransmits": 2, "expires_ms": 500, **values}
    return [request(host, source_port=1024 + i, cookie=n + 1, **given) for n, (host, i) in enumerate(made)]


def honest(n: int = 20) -> dict[str, dict[str, int]]:
    """Clients elsewhere that finish."""
    return {f"99.1.{i}.1": {"syns": 2, "finished": 2} for i in range(n)}


def asked(*hosts: str) -> dict[str, dict[str, int]]:
    """What strangers send."""
    return {host: {"syns": 20} for host in hosts}


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


def cut_off(n: int = 30) -> list[str]:
    return [f"10.9.{i}.7" for i in range(n)]


@pytest.mark.parametrize("parts", [[], [arrivals(honest())]], ids=["memory", "counted"])
def test_clients_that_finished_lately_and_hear_the_synack_lose_their_last_acks(parts: list[Arrivals]) -> None:
    memory = peers({**dict.fromkeys(cut_off(12), 9.0), "99.1.1.1": 0.1})
    verdict, ids = second_look(from_hosts(cut_off(), 4), rates={"PassiveOpens": 80}, parts=[memory, *parts])
    assert ids[0] == "acks-lost"
    found = verdict.findings[0]
    assert found.level is Level.WARNING
    assert (found.text("prefix"), found.count("finished_lately")) == ("10.9.0.0/16", 12)
    assert found.number("last_finished_s") == 9.0
    assert next_commands(verdict) == [
        "tcpdump -ni any -c 20 'src net 10.9.0.0/16 and tcp and dst port 8080'",
        "nft list ruleset",
    ]
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


def test_a_cut_prefix_is_named_beside_a_flood_though_few_of_its_clients_were_here_before() -> None:
    """As on a real host: 34 of 181 were."""
    ill = [f"10.99.{i % 16}.{i // 16 + 1}" for i in range(181)]
    memory = peers({**dict.fromkeys(ill[:34], 9.0), "99.1.0.1": 0.5})
    flood = from_hosts([f"172.20.{i % 200}.{i % 250}" for i in range(1000)], 1)
    seen = arrivals({**honest(), **asked(*(f"172.20.{i}.{i}" for i in range(50)))})
    rows = [*flood, *from_hosts(ill, 1)]
    _, ids = second_look(rows, rates={"PassiveOpens": 40}, parts=[memory, seen])
    assert {"acks-lost", "prefix-flood"} == set(ids[:2])


def test_their_acks_arrive_where_some_of_them_finish() -> None:
    memory = peers({**dict.fromkeys(cut_off(12), 9.0), **{f"10.9.5.{i}": 0.2 for i in range(12)}})
    assert "acks-lost" not in second_look(from_hosts(cut_off(), 4), rates={"PassiveOpens": 80}, parts=[memory])[1]
    seen = arrivals({f"10.9.{i}.9": {"syns": 9, "finished": 9} for i in range(12)})
    both = [peers(dict.fromkeys(cut_off(12), 9.0)), seen]
    verdict, ids = second_look(from_hosts(cut_off(), 4), rates={"PassiveOpens": 80}, parts=both)
    assert "acks-lost" not in ids
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


def late(n: int, of: int) -> Arrivals:
    """One prefix where so many of its handshakes finish late, beside others in time."""
    ill = {f"10.9.{i}.7": {"syns": 2, "finished": 1, "late": int(i < n)} for i in range(of)}
    return arrivals({**honest(), **ill})


def test_handshakes_that_finish_late_are_a_slow_path() -> None:
    verdict, ids = second_look(many(12), rates={"PassiveOpens": 200}, parts=[late(9, 30)])
    assert ids == ["slow-path"]
    found = verdict.findings[0]
    assert (found.level, found.text("prefix")) == (Level.NOTICE, "10.9.0.0/20")
    assert (found.count("late"), found.count("retrying")) == (9, 0)


def test_a_few_late_ones_are_any_path() -> None:
    assert second_look(many(12), rates={"PassiveOpens": 200}, parts=[late(2, 30)])[1] == []
    one = arrivals({PROXY: {"syns": 300, "finished": 300, "late": 6}})
    assert second_look(many(12), rates={"PassiveOpens": 600}, parts=[one])[1] == []


@pytest.mark.parametrize(("counted", "young", "found"), [(True, 0, 0), (True, 9, 1), (False, 0, 0), (False, 24, 1)])
def test_those_who_wait_are_set_against_those_who_finish_in_the_same_time(
    counted: bool, young: int, found: int
) -> None:
    """Of 600 a second, three in a thousand go away before they answer: 17 wait at any moment, 8 % beside what finishes
    in half a second.
    """
    old = from_hosts([PROXY], 17, retransmits=4, expires_ms=9000)
    waiting = [*old, *from_hosts([PROXY], young, retransmits=2 if counted else 1, expires_ms=1000)]
    seen = arrivals({PROXY: {"syns": 300, "finished": 300, "late": 2 + 2 * young}})
    parts = [peers({PROXY: 0.0}), *([seen] if counted else [])]
    _, ids = second_look(waiting, rates={"PassiveOpens": 200 if young and not counted else 600}, parts=parts)
    assert ids.count("slow-path") == found


@pytest.mark.parametrize(("late", "found"), [(1, 0), (40, 1)])
def test_those_who_wait_where_hardly_anybody_is_late_are_on_no_lossy_path(late: int, found: int) -> None:
    """A load balancer whose checks of one kind are never answered: a lossy path delays more than it ends."""
    waiting = from_hosts([PROXY], 40, retransmits=2, expires_ms=3000)
    seen = arrivals({PROXY: {"syns": 60, "finished": 55, "late": late}})
    _, ids = second_look(waiting, rates={"PassiveOpens": 110}, parts=[peers({PROXY: 0.0}), seen])
    assert ids.count("slow-path") == found


def test_without_ebpf_a_slow_path_shows_by_those_that_wait() -> None:
    waiting = from_hosts([f"10.9.{i}.7" for i in range(12)], 1, retransmits=1, expires_ms=1500)
    memory = peers({**{f"10.9.{i}.7": 1.0 for i in range(12)}, "99.1.1.1": 0.1}, rtt_s=1.2)
    verdict, ids = second_look(waiting, rates={"PassiveOpens": 60}, parts=[memory])
    assert ids == ["slow-path"]
    assert verdict.findings[0].number("rtt_s") == pytest.approx(1.2)
    # A proxy through which 600 a second finish, one in a hundred late.
    proxy = from_hosts([PROXY], 6, retransmits=1, expires_ms=1500)
    assert second_look(proxy, rates={"PassiveOpens": 600}, parts=[peers({PROXY: 0.0})])[1] == []


def test_without_ebpf_no_number_is_made_up_of_those_that_finish() -> None:
    """A proxy is one address of many: that is no measure of how many handshakes finish through it."""
    waiting = from_hosts([PROXY], 17, retransmits=1, expires_ms=1500)
    others = {f"99.1.{i}.1": 0.5 for i in range(60)}
    verdict, ids = second_look(waiting, rates={"PassiveOpens": 80}, parts=[peers({PROXY: 0.1, **others}, rtt_s=0.1)])
    assert ids == ["slow-path"]
    found = verdict.findings[0]
    assert not any(found.has(name) for name in ("finished", "late", "late_share"))
    said = say(found)
    assert (
        f"slow or lossy path to {PROXY} (round trip 0.1 s): 17 handshakes wait after a SYN-ACK was sent again" in said
    )
    assert "finished" not in said
    # One in a hundred that go through it waits.
    busy = second_look(waiting[:5], rates={"PassiveOpens": 480}, parts=[peers({PROXY: 0.1, **others})])
    assert busy[1] == []


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


def test_last_acks_of_everybody_are_no_flood() -> None:
    """A firewall that has lost its state drops them all; most clients are new ones."""
    hosts = [f"{20 + i}.{i}.3.7" for i in range(60)]
    memory = peers(dict.fromkeys(hosts[:20], 9.0))
    verdict, ids = second_look(from_hosts(hosts, 2), parts=[memory, arrivals({})])
    assert ids[0] == "acks-lost"
    assert not verdict.findings[0].has("prefix")
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


@pytest.mark.parametrize(("hosts", "id"), [(1, "few-sources-flood"), (60, "prefix-flood")])
def test_an_ipv6_network_is_one_host_or_many(hosts: int, id: str) -> None:
    requests = from_hosts([f"2001:db8:66::{i + 1:x}" for i in range(hosts)], 120 // hosts, family=10)
    local = [row.copy() for row in requests]
    for row in local:
        row["local_address"] = np.void(raw("2001:db8::1", 10))
    verdict, ids = second_look(local, listener("::", limit=100_000), parts=[arrivals(honest())])
    assert ids[0] == id
    assert verdict.findings[0].text("prefix") == "2001:db8:66::/64"


def test_a_port_that_is_cut_off_is_no_slow_path_of_those_that_finish_at_another() -> None:
    hosts = [f"10.9.0.{i}" for i in range(1, 4)]
    deaf = from_hosts(hosts, 4, retransmits=8)
    seen = arrivals({f"{host} 80": {"syns": 1, "finished": 1} for host in hosts})
    other = listener(port=80, inode=2)
    timers = {"timeouts": np.full(len(deaf), 2, dtype=np.uint8)}
    verdict, ids = second_look(deaf, listener(), other, parts=[seen, peers(dict.fromkeys(hosts, 1.0))], **timers)
    assert ids == ["synacks-lost"]
    assert verdict.findings[0].at.port == 8080


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


def test_where_some_ask_again_the_others_have_not_yet() -> None:
    deaf = [*from_hosts(cut_off(), 2, retransmits=8), *from_hosts(cut_off(), 1)]
    timers = {"timeouts": np.full(len(deaf), 2, dtype=np.uint8)}
    _, ids = second_look(deaf, parts=[peers(dict.fromkeys(cut_off(), 9.0))], **timers)
    assert ids == ["synacks-lost"]


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
