"""Which path is slow, lossy or cut off, told by the hosts that wait beside those that finish."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halfopen.core.findings.finding import Level
from halfopen.core.sample.arrivals import Arrivals
from halfopen.core.sample.listeners import ListenerOptions
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from hosts_made import PROXY, asked, from_hosts, honest, late
from rows import listener, request
from verdicts import arrivals, many, peers, releases, second_look, still_coming


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
        f"slow or lossy path to {PROXY} (round trip 100 ms): 17 handshakes of clients that finish others wait after"
        in said
    )
    assert "finished" not in said
    # One in a hundred that go through it waits.
    busy = second_look(waiting[:5], rates={"PassiveOpens": 480}, parts=[peers({PROXY: 0.1, **others})])
    assert busy[1] == []


def test_last_acks_of_everybody_are_no_flood() -> None:
    """A firewall that has lost its state drops them all; most clients are new ones."""
    hosts = [f"{20 + i}.{i}.3.7" for i in range(60)]
    memory = peers(dict.fromkeys(hosts[:20], 9.0))
    verdict, ids = second_look(from_hosts(hosts, 2), parts=[memory, arrivals({})])
    assert ids[0] == "acks-lost"
    assert not verdict.findings[0].has("prefix")
    assert not any("flood" in id for id in ids)
    assert not releases(verdict)


def test_a_port_that_is_cut_off_is_no_slow_path_of_those_that_finish_at_another() -> None:
    hosts = [f"10.9.0.{i}" for i in range(1, 4)]
    deaf = from_hosts(hosts, 4, retransmits=8)
    seen = arrivals({f"{host} 80": {"syns": 1, "finished": 1} for host in hosts})
    other = listener(port=80, inode=2)
    timers = {"timeouts": np.full(len(deaf), 2, dtype=np.uint8)}
    verdict, ids = second_look(deaf, listener(), other, parts=[seen, peers(dict.fromkeys(hosts, 1.0))], **timers)
    assert ids == ["synacks-lost"]
    assert verdict.findings[0].at.port == 8080


def test_where_some_ask_again_the_others_have_not_yet() -> None:
    deaf = [*from_hosts(cut_off(), 2, retransmits=8), *from_hosts(cut_off(), 1)]
    timers = {"timeouts": np.full(len(deaf), 2, dtype=np.uint8)}
    _, ids = second_look(deaf, parts=[peers(dict.fromkeys(cut_off(), 9.0))], **timers)
    assert ids == ["synacks-lost"]


@pytest.mark.parametrize(("late", "ids"), [(0, ["synacks-lost"]), (12, ["slow-path"])], ids=["one of two ways", "loss"])
def test_a_part_of_the_connections_of_a_gateway_that_never_hears_anything(late: int, ids: list[str]) -> None:
    """One in twenty behind a NAT gateway: where packets are lost by chance, many more would finish late."""
    cut = from_hosts([PROXY], 48, retransmits=8)
    seen = arrivals({PROXY: {"syns": 120, "finished": 100, "late": late}})
    again = {"timeouts": np.full(48, 2, dtype=np.uint8)}
    verdict, found = second_look(cut, rates={"PassiveOpens": 200}, parts=[seen], **again)
    assert found == ids
    if not late:
        assert "others of the same sources finish at 200/s" in say(verdict.findings[0])
        assert not releases(verdict)


def test_handshakes_at_a_listener_that_waits_for_data_are_not_late_because_of_the_path() -> None:
    """TCP_DEFER_ACCEPT: clients that send nothing for some seconds are sent the SYN-ACK again."""
    patient = arrivals({f"10.9.{i}.7": {"syns": 1, "finished": 1, "late": 1} for i in range(30)})
    assert second_look([], listener(inode=1), rates={"PassiveOpens": 60}, parts=[patient])[1] == ["slow-path"]
    waits = {"options": {1: ListenerOptions(defer_accept_s=3)}}
    assert second_look([], listener(inode=1), rates={"PassiveOpens": 60}, parts=[patient], **waits)[1] == []


@pytest.mark.parametrize(
    ("part", "asks", "id"),
    [(1.0, 0, "cannot-tell"), (0.5, 0, "slow-path"), (1.0, 1, "synacks-lost"), (0.5, 1, "slow-path")],
    ids=["no ACKs", "lossy", "no SYN-ACKs", "lossy, and they ask again"],
)
def test_without_ebpf_ages_tell_whether_those_that_wait_ever_finish(part: float, asks: int, id: str) -> None:
    """A NAT gateway: a part of its connections is cut, or each packet is lost as often as not."""
    rows, timeouts = [], []
    for i in range(360):  # thirty a second begin, and after each SYN-ACK this part is left
        age_s = i / 30
        again = int(math.log2(age_s + 1))
        if (i * 7919 % 1000) / 1000 < part**again:
            at = {"source_port": 1024 + i, "cookie": i + 1, "expires_ms": round(1000 * (2 ** (again + 1) - 1 - age_s))}
            rows.append(request(PROXY, retransmits=again + asks * (age_s >= 1.1), **at))
            timeouts.append(again)
    lately = peers({PROXY: 0.1, **{f"99.1.{i}.1": 0.5 for i in range(60)}}, rtt_s=0.02)
    known = {"timeouts": np.array(timeouts, dtype=np.uint8)}
    verdict, ids = second_look(rows, rates={"PassiveOpens": 30}, parts=[lately], **known)
    assert ids[0] == id
    if id == "synacks-lost":
        assert verdict.findings[0].count("repeated") > 0.9 * verdict.findings[0].count("lasting")
    elif id == "slow-path":
        assert "(round trip 20 ms)" in say(verdict.findings[0])
    else:
        assert verdict.level is Level.WARNING
        assert "come from sources that finish other handshakes" in say(verdict.findings[0])


@pytest.mark.parametrize("known", [True, False])
def test_lost_synacks_are_ruled_out_only_where_repeated_syns_would_be_seen(known: bool) -> None:
    """Without eBPF, and with /proc/net/tcp too long to ask, the SYN-ACKs that clients asked for are not told apart."""
    memory = peers({**dict.fromkeys(cut_off(12), 9.0), "99.1.1.1": 0.1})
    rows = from_hosts(cut_off(), 4)
    values = {"timeouts": np.full(len(rows), 2, dtype=np.uint8)} if known else {}
    verdict, ids = second_look(rows, rates={"PassiveOpens": 80}, parts=[memory], **values)
    assert ids[0] == "acks-lost"
    found = verdict.findings[0]
    assert ("synacks-lost" in found.rules_out) is known
    assert ("or the SYN-ACKs do not reach them" in say(found)) is not known


@pytest.mark.parametrize("known", [True, False])
def test_of_a_flood_it_is_told_whether_repeated_syns_would_be_seen(known: bool) -> None:
    rows = still_coming(200)
    values = {"timeouts": np.array([int(row["retransmits"][0]) for row in rows], dtype=np.uint8)} if known else {}
    found = second_look(rows, **values)[0].findings[0]
    assert found.id == "spoofed-flood"
    assert ("none of them has retransmitted its SYN" in say(found)) is known
    assert ("only eBPF can tell now whether they retransmit their SYN" in say(found)) is not known
