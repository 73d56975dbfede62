"""Silent sources and clients whose last ACKs are lost leave the same behind: when the two can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from halfopen.core.findings.contrast import as_drawn
from halfopen.core.findings.finding import Level
from halfopen.core.sample.before_tcp import BeforeTcp, IpIn
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from hosts_made import from_hosts
from rows import listener, request
from verdicts import arrivals, releases, second_look, silent

NEVER = {"PassiveOpens": 0}
NETWORK = [f"10.9.{i % 250}.{i // 250 + 7}" for i in range(400)]
# Clients of a site: a few networks, far from each other.
SITES = [f"{20 + 7 * (i % 10)}.{i % 10}.{i // 10}.7" for i in range(400)]
HOSTS = [f"{60 + i % 4}.1.1.1" for i in range(200)]


@pytest.mark.parametrize("sources", [NETWORK, SITES, HOSTS], ids=["one network", "ten networks", "four hosts"])
def test_where_nobody_ever_finished_clients_may_have_lost_their_acks_from_the_start(sources: list[str]) -> None:
    """A firewall on the way passes SYNs and drops what follows, since the server was set up."""
    verdict, ids = second_look(from_hosts(sources, 1), counters=NEVER)
    assert ids == ["cannot-tell"]
    assert not releases(verdict)
    assert "No handshake has ever finished here" in say(verdict.findings[0])
    assert next_commands(verdict)[0].startswith("tcpdump -ni any -c 20 ")


@pytest.mark.parametrize("sources", [NETWORK, SITES, HOSTS], ids=["one network", "ten networks", "four hosts"])
def test_they_flood_where_others_got_in(sources: list[str]) -> None:
    assert "flood" in second_look(from_hosts(sources, 1), counters={"PassiveOpens": 5})[1][0]


def test_the_addresses_of_load_generators_are_of_no_client() -> None:
    """RFC 2544; those of `halfopen lab` are."""
    hosts = [f"198.19.255.{i % 8 + 1}" for i in range(200)]
    assert second_look(from_hosts(hosts, 1), counters=NEVER)[1][0] == "few-sources-flood"


def test_addresses_that_look_drawn_are_no_clients_even_if_nobody_ever_finished() -> None:
    assert second_look(silent(300), counters=NEVER)[1][0] == "spoofed-flood"


@pytest.mark.parametrize(
    ("elsewhere", "here", "dropped", "found"),
    [(40, 0, 500, "cannot-tell"), (40, 9, 500, "cannot-tell"), (40, 0, 20, "prefix-flood")],
    ids=["nobody here", "others here", "too few are dropped"],
)
def test_rules_may_drop_the_acks_of_one_port_while_others_finish_at_another(
    elsewhere: int, here: int, dropped: int, found: str
) -> None:
    """`tcp dport 8081 ct state new accept`, and nothing that accepts what follows; or the same of one network."""
    cut = from_hosts(NETWORK, 1, port=8081)
    ports = listener(limit=9000, cookie=1), listener(port=8081, limit=9000, cookie=2, inode=2)
    counts = {"99.1.1.1 8080": {"finished": elsewhere}, "99.1.1.2 8081": {"finished": here}}
    ip = IpIn(9000, 8000 - dropped // 2, 1000, 0)
    before = BeforeTcp(100.0, ip=IpIn(0, 0, 0, 0))
    parts = arrivals(counts), BeforeTcp(100.5, ip=ip, earlier=before)
    verdict, ids = second_look(cut, *ports, rates={"PassiveOpens": 2 * (elsewhere + here)}, parts=parts)
    assert ids[0] == found
    if found == "cannot-tell":
        assert next_commands(verdict)[0] == "nft list ruleset"
        assert not releases(verdict)


def test_drawn_addresses_are_of_ever_new_networks_and_come_once() -> None:
    drawn = np.random.default_rng(1).integers(2**24, 224 * 2**24, size=4000).astype(np.uint32)
    assert as_drawn(drawn)
    assert as_drawn(np.random.default_rng(1).integers(2**61, 2**62, size=400).astype(np.uint64))
    assert not as_drawn(drawn[:49])
    assert not as_drawn(np.concatenate([drawn, drawn[:100]]))
    # The same number of hosts in a tenth of the networks.
    assert not as_drawn(drawn & 0xFFF0_00FF | np.arange(4000, dtype=np.uint32) % 16 << 8)


def test_those_behind_a_proxy_that_finishes_others_are_no_flood() -> None:
    proxy = from_hosts(["10.9.1.1"], 200)
    seen = arrivals({"10.9.1.1": {"syns": 40, "finished": 20}})
    verdict, ids = second_look(proxy, rates={"PassiveOpens": 40}, parts=[seen])
    assert ids == ["cannot-tell"]
    assert "200 of these come from sources that finish other handshakes" in say(verdict.findings[0])
    assert not releases(verdict)


def test_a_crowd_of_strangers_is_told_beside_another_cause() -> None:
    """A flood from a network in which clients live as well is not named: neither is it passed over in silence."""
    network = [f"10.9.1.{i % 250}" for i in range(1000)]
    deaf = [f"10.40.{i}.7" for i in range(12)]
    rows = [*from_hosts(network, 1), *from_hosts(deaf, 1, retransmits=8, port=81)]
    seen = arrivals({"10.9.1.251": {"syns": 9, "finished": 9}})
    ports = listener(limit=9000, cookie=1), listener(port=81, limit=9000, cookie=2, inode=2)
    timeouts = np.full(len(rows), 2, dtype=np.uint8)
    _, ids = second_look(rows, *ports, rates={"PassiveOpens": 18}, parts=[seen], timeouts=timeouts)
    assert ids == ["synacks-lost", "cannot-tell"]


@pytest.mark.parametrize(("hosts", "found"), [(3, "cannot-tell"), (1, "few-sources-flood")], ids=["slow", "fast"])
def test_a_few_hosts_that_ask_no_more_often_than_clients_do_may_be_clients(hosts: int, found: str) -> None:
    """Their last ACKs may be lost on the way, while others finish."""
    rows = []
    for i in range(120):  # ten a second
        age_s = 0.1 * i
        again = int(np.log2(age_s + 1))
        timer = {"retransmits": again, "expires_ms": round(1000 * (2 ** (again + 1) - 1 - age_s))}
        rows.append(request(f"60.1.1.{i % hosts + 1}", source_port=1024 + i, cookie=i + 1, **timer))
    seen = arrivals({"99.1.1.1": {"finished": 20}})
    verdict, ids = second_look(rows, rates={"PassiveOpens": 40}, parts=[seen])
    assert ids[0] == found
    assert verdict.level is Level.WARNING
    told = say(verdict.findings[0])
    if found == "cannot-tell":
        assert "3 hosts begin" in told
        assert next_commands(verdict)[0].startswith("tcpdump -ni any -c 20 'src net 60.1.1.")
        assert not releases(verdict)
    else:
        assert "clients whose last ACKs are lost on the way look the same" in told
