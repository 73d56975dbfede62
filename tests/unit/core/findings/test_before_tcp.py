"""Packets that are lost before TCP, and handshakes that clients reset."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from halfopen.core.findings import excluding as excluding
from halfopen.core.findings.cures import LookAtHost, RaiseConntrack
from halfopen.core.findings.evidence import Evidence
from halfopen.core.findings.exclusions import EXCLUSIONS
from halfopen.core.findings.finding import Level
from halfopen.core.model.model import build
from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack, IpIn, Received, Softnet
from halfopen.present.findings.cures import command
from halfopen.present.findings.sentences import say
from rows import listener, sample
from verdicts import arrivals, many, nothing_lost, second_look, silent, still_coming


@pytest.mark.parametrize(
    ("table", "level"),
    [
        (Conntrack(1001, 1000, drops=12), Level.CRITICAL),
        (Conntrack(920, 1000, drops=12), Level.CRITICAL),
        (Conntrack(960, 1000), Level.WARNING),
        (Conntrack(940, 1000), Level.OK),
        # Other reasons to drop: an invalid packet, a helper.
        (Conntrack(10, 1000, drops=12), Level.OK),
        (Conntrack(0, 0), Level.OK),
        (None, Level.OK),
    ],
)
def test_a_table_of_tracked_connections(table: Conntrack | None, level: Level) -> None:
    verdict, ids = second_look([], parts=(nothing_lost(conntrack=table),))
    assert (verdict.level, ids) == (level, ["conntrack-full"] if level else [])
    if level:
        assert verdict.next == ((RaiseConntrack("self", 2000, "conntrack-full"),),)


def test_one_reading_of_a_full_table_tells_no_rate() -> None:
    once = BeforeTcp(100.0, Conntrack(1000, 1000, drops=9_000_000))
    verdict, ids = second_look([], parts=(once,))
    assert (ids, verdict.level) == (["conntrack-full"], Level.WARNING)
    assert not verdict.findings[0].has("conntrack_drops_per_s")


@pytest.mark.parametrize(
    ("dropped", "finished", "level"),
    [(30, 100, Level.WARNING), (30, 0, Level.WARNING), (4, 1000, Level.NOTICE), (1, 0, Level.OK), (0, 100, Level.OK)],
)
def test_the_reverse_path_filter_by_its_rate(dropped: int, finished: int, level: Level) -> None:
    rates = {"IPReversePathFilter": dropped, "PassiveOpens": finished}
    verdict, ids = second_look([], rates=rates, counters={"IPReversePathFilter": 1_000_000})
    assert (verdict.level, ids) == (level, ["reverse-path-filter"] if level else [])
    if level:
        assert verdict.next == ((LookAtHost("self", "reverse-path", "", "reverse-path-filter"),),)


def _received(packets: int, missed: int = 0, dropped: int = 0) -> tuple[Received, ...]:
    return (Received("eth0", 100 + packets, 5 + missed, 9 + dropped),)


@pytest.mark.parametrize(
    ("devices", "full", "level", "where"),
    [
        (_received(1000, missed=50), 0, Level.WARNING, "device"),
        (_received(10_000, missed=50), 0, Level.NOTICE, "device"),
        (_received(1_000_000, missed=50), 0, Level.OK, ""),
        (_received(100, missed=2), 0, Level.OK, ""),
        (_received(1000, dropped=50), 50, Level.WARNING, "cpu"),
        # Frames that nobody here wants; a CPU's queue that packets of other namespaces filled.
        (_received(1000, dropped=50), 0, Level.OK, ""),
        (_received(1000), 50, Level.OK, ""),
    ],
)
def test_a_device_or_a_cpu_that_drops(devices: tuple[Received, ...], full: int, level: Level, where: str) -> None:
    lost = nothing_lost(devices=devices, cpus=(Softnet(1100, 7 + full, 1),))
    verdict, ids = second_look([], parts=(lost,))
    assert (verdict.level, ids) == (level, ["nic-drops"] if level else [])
    if level:
        found = verdict.findings[0]
        assert (found.text("where"), found.text("device"), found.number("lost_per_s")) == (where, "eth0", 100)
        assert verdict.next == ((LookAtHost("self", where, "eth0", "nic-drops"),),)


def test_a_device_that_is_new_has_no_rates() -> None:
    lost = nothing_lost(devices=(Received("veth9", 10, 10_000, 0),))
    assert second_look([], parts=(lost,))[1] == []


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (IpIn(1100, 950, 0), True),
        (IpIn(1100, 1000, 0), False),
        # All but four a second have another reason.
        (IpIn(1100, 950, 48), False),
        # A few on a busy host.
        (IpIn(101_000, 100_900, 0), False),
    ],
    ids=["half of them", "none", "with reasons", "one in a thousand"],
)
def test_rules_that_drop(now: IpIn, found: bool) -> None:
    before = BeforeTcp(100.0, ip=IpIn(1000, 900, 0))
    lost = BeforeTcp(100.5, ip=now, earlier=before)
    verdict, ids = second_look([], parts=(lost,))
    assert ids == (["dropped-by-rules"] if found else [])
    if found:
        assert verdict.next == ((LookAtHost("self", "firewall", "", "dropped-by-rules"),),)
        assert "between IP and TCP" in say(verdict.findings[0])


@pytest.mark.parametrize("finished", [0, 2])
def test_nobody_is_called_silent_whose_acks_rules_of_this_host_may_drop(finished: int) -> None:
    """A rule that drops ACKs makes clients look like a flood: a release of theirs was proposed."""
    lost = BeforeTcp(100.5, ip=IpIn(1200, 950, 0), earlier=BeforeTcp(100.0, ip=IpIn(1000, 900, 0)))
    verdict, ids = second_look(still_coming(100), listener(limit=150), rates={"PassiveOpens": finished}, parts=(lost,))
    if finished:
        assert ids[0] == "spoofed-flood"
        return
    assert ids[0] == "cannot-tell"
    assert not any("flood" in id for id in ids)
    assert {command(cure) for cure in verdict.next} == {"nft list ruleset"}
    assert "rules of this host drop 300 packets/s. The cause depends on whether the last ACKs of clients" in say(
        verdict.findings[0]
    )


@pytest.mark.parametrize(
    ("reset", "finished", "sent", "found"),
    [
        (10, 50, 0, ["health-checks"]),
        (10, 5, 0, []),
        (0.5, 50, 0, []),
        # A scan, perhaps.
        (10, 50, 40, ["cannot-tell"]),
    ],
    ids=["checks", "more than finish", "hardly any", "closed ports as well"],
)
def test_health_checks_that_reset(reset: float, finished: int, sent: int, found: list[str]) -> None:
    rates = {"EmbryonicRsts": reset, "PassiveOpens": finished, "OutRsts": sent}
    verdict, ids = second_look([], rates=rates)
    assert ids == found
    assert verdict.level is (Level.NOTICE if found else Level.OK)


def test_whose_health_checks_they_are() -> None:
    seen = arrivals({"192.0.2.9": {"syns": 4, "resets": 4}, "192.0.2.77": {"syns": 20, "finished": 20, "resets": 1}})
    verdict, ids = second_look([], rates={"EmbryonicRsts": 10, "PassiveOpens": 50}, parts=[seen])
    assert ids == ["health-checks"]
    assert "80% of these RSTs come from 192.0.2.9" in say(verdict.findings[0])


def test_resets_of_many_clients_are_not_called_health_checks() -> None:
    """Clients that connect by IPv4 and IPv6 at once reset the slower one (RFC 8305)."""
    clients = {f"192.0.2.{i}": {"syns": 2, "finished": 1, "resets": 1} for i in range(1, 41)}
    verdict, ids = second_look([], rates={"EmbryonicRsts": 40, "PassiveOpens": 50}, parts=[arrivals(clients)])
    assert ids == ["health-checks"]
    text = say(verdict.findings[0])
    assert "from 40 sources: clients that begin two connections and keep the faster one do that" in text
    assert "load balancer" not in text
    assert "% of these RSTs" not in text
    # Without eBPF it is not known whose they are.
    unknown = say(second_look([], rates={"EmbryonicRsts": 40, "PassiveOpens": 50})[0].findings[0])
    assert "health checks of a load balancer do that, and so do clients that begin two connections" in unknown


def test_resets_of_a_scan_are_no_health_checks() -> None:
    scanned = {f"192.0.2.9 {port}": {"syns": 4, "resets": 4} for port in (22, 23, 25)}
    seen = arrivals({**scanned, "192.0.2.77": {"syns": 20, "finished": 20, "resets": 1}})
    rates = {"EmbryonicRsts": 10, "PassiveOpens": 50}
    assert second_look([], rates=rates, parts=[seen])[1] == ["scan"]


def test_resets_of_clients_that_met_a_full_accept_queue_are_no_health_checks() -> None:
    rates = {"EmbryonicRsts": 6, "PassiveOpens": 10, "ListenOverflows": 120, "ListenDrops": 120}
    assert "health-checks" not in second_look([], rates=rates)[1]


def test_an_empty_table_of_tracked_connections_is_not_full() -> None:
    """Its limit is not even read."""
    empty = nothing_lost(conntrack=Conntrack(0, 0))
    assert EXCLUSIONS["conntrack-full"].exclude(Evidence(build(replace(sample([], []), parts=(empty,)))))


def test_resets_in_a_flood_are_of_forged_hosts_that_exist() -> None:
    rates = {"EmbryonicRsts": 4, "PassiveOpens": 10}
    assert "health-checks" not in second_look(silent(400), rates=rates)[1]


def test_handshakes_that_are_late_because_this_host_loses_packets_are_no_slow_path() -> None:
    rows = {f"10.9.{i}.7": {"syns": 2, "finished": 1, "late": int(i < 9)} for i in range(30)}
    assert second_look(many(12), rates={"PassiveOpens": 200}, parts=[arrivals(rows)])[1] == ["slow-path"]
    lost = nothing_lost(cpus=(Softnet(2100, 507, 1),), devices=(Received("eth0", 20_100, 5, 509),))
    _, ids = second_look(many(12), rates={"PassiveOpens": 200}, parts=[arrivals(rows), lost])
    assert ids == ["nic-drops"]


def test_handshakes_that_their_clients_reset_are_told_where_nobody_gets_in() -> None:
    """Clients that wait half a second, and are 0.8 s away: whether the young ones finish decides nothing."""
    verdict, ids = second_look(many(77, expires_ms=400), rates={"EmbryonicRsts": 72, "PassiveOpens": 0})
    assert ids == ["cannot-tell"]
    said = say(verdict.findings[0])
    assert "clients reset handshakes before they complete (72/s)" in said
    assert "young" not in said
    assert "reset" not in say(second_look(many(77, expires_ms=400))[0].findings[0])


def test_checks_of_a_few_hosts_are_known_as_such_on_an_idle_server_too() -> None:
    checks = arrivals({"192.0.2.9": {"syns": 10, "resets": 10}, "192.0.2.10": {"syns": 10, "resets": 10}})
    assert second_look([], rates={"EmbryonicRsts": 40, "PassiveOpens": 2}, parts=[checks])[1] == ["health-checks"]


def test_most_handshakes_reset_by_many_are_told_though_nothing_stays() -> None:
    """A flood with the addresses of hosts that are there: each answers the SYN-ACK with a RST."""
    owners = arrivals({f"20.{i}.1.7": {"syns": 1, "resets": 1} for i in range(250)})
    verdict, ids = second_look([], rates={"EmbryonicRsts": 500, "PassiveOpens": 6}, parts=[owners])
    assert ids == ["cannot-tell"]
    assert "The RSTs come from 250 sources: clients that wait for less than a round trip" in say(verdict.findings[0])
    assert verdict.level is Level.NOTICE
