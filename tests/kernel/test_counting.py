"""Everybody counts the same: list, status, the API, metrics, ss and /proc/net/tcp; IPv4, IPv6 and v4-mapped clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import halfopen
from peers import proc_syn_recv, ss_syn_recv
from run import document
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab


@pytest.mark.parametrize(
    ("address", "family", "shown_as"),
    [("0.0.0.0", None, "ipv4"), ("::", 6, "ipv6"), ("::", 4, "ipv4")],
    ids=["ipv4", "ipv6", "v4-mapped"],
)
def test_23(lab: Lab, tmp_path: Path, address: str, family: int | None, shown_as: str) -> None:
    web = lab.server.listen(8080, address=address)
    good = lab.client.connect(web, 3, family=family)
    assert lab.client.half_open(web, 23, family=family).settled() == 23
    path = lab.server.netns_path

    assert len(ss_syn_recv(lab)) == 23
    assert proc_syn_recv(lab) == 23
    model = halfopen.snapshot(path)
    assert (model.half_open, model.deferred, model.full, model.orphans) == (23, 0, 0, 0)
    [view] = [v for v in model.listeners if v.port == 8080]
    assert view.half_open == 23
    assert sum(view.retransmits) == 23

    listed = document("list", "--netns", path, "--json")
    assert listed["total"] == 23
    assert {row["family"] for row in listed["connections"]} == {shown_as}
    assert {row["local_port"] for row in listed["connections"]} == {8080}
    assert len({(row["remote_address"], row["remote_port"]) for row in listed["connections"]}) == 23
    assert not any(row["deferred"] for row in listed["connections"])

    status = document("status", "--netns", path, "--json")
    assert status["schema"] == "halfopen.status/1"
    [there] = status["namespaces"]
    assert there["half_open"] == 23
    assert sum(listener["half_open"] for listener in there["listeners"]) == 23
    assert sum(source["half_open"] for source in there["sources"]) <= 23
    first = command("status", "--netns", path).stdout.splitlines()[0]
    assert "23 half-open connections" in first
    file = tmp_path / "halfopen.prom"
    assert command("watch", "--netns", path, "--count", "1", "--metrics-file", str(file)).returncode == 0
    lines = file.read_text().splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("halfopen_connections{")] == ["23.0"]
    assert [line.split()[-1] for line in lines if line.startswith("halfopen_syn_queue_requests{")] == ["23.0"]
    assert good.alive() == 3


def test_the_sources_listed_are_those_that_sent(lab: Lab) -> None:
    web = lab.server.listen(8080)
    sent = lab.client.half_open(web, 50, sources="few")
    sent.settled()
    listed = document("list", "--netns", lab.server.netns_path, "--json")
    seen = {(row["remote_address"], row["remote_port"]) for row in listed["connections"]}
    assert seen == set(zip(sent.addresses(), sent.source_port.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.xdist_group("many")
@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, id="a million")])
def test_many(lab: Lab, n: int) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 8)
    # Above half fill the kernel prunes the queue itself.
    web = lab.server.listen(8080, backlog=3 * n)
    lab.client.half_open(web, n)
    lab.settle(n, timeout=60)
    path = lab.server.netns_path
    assert halfopen.snapshot(path).half_open == n
    assert len(ss_syn_recv(lab)) == n
    assert proc_syn_recv(lab) == n
    listed = command("list", "--netns", path, "--format", "csv")
    assert listed.stdout.count("\n") == n + 1
    assert document("status", "--netns", path, "--json")["namespaces"][0]["half_open"] == n


def test_one_walk_and_the_walk_per_port_and_prefix_agree(lab: Lab) -> None:
    # Roomy: a queue more than half full is pruned between two looks.
    one = lab.server.listen(8080, address="::", backlog=1024)
    two = lab.server.listen(8081, backlog=1024)
    lab.client.half_open(one, 40, family=4).settled()
    lab.client.half_open(one, 40, family=6).settled()
    lab.client.half_open(two, 40, sources="few").settled()
    for words in (
        {"listener": ":8080"},
        {"listener": ":8081"},
        {"listener": f"{lab.server.v4}:8080"},
        {"listener": f"[{lab.server.v6}]:8080"},
        {"listener": "[::]:8080"},
        {"source": "198.18.0.0/15"},
        {"source": "198.18.0.0/17"},
        {"source": "2001:2::/48"},
        {"source": "2001:2::/49"},
        {"source": "0.0.0.0/0"},
        {"source": "::/0"},
        {"listener": ":8080", "source": "198.18.0.0/15"},
        {"source": ["198.18.0.0/15", "198.19.255.0/24"]},
        {"listener": ":9999"},
    ):
        chosen = halfopen.make_filter(**words)  # type: ignore[arg-type]
        in_kernel = halfopen.sample(lab.server.netns_path, filter=chosen, owners=False).requests
        everything = halfopen.sample(lab.server.netns_path, owners=False).requests
        here = everything[chosen.mask(everything, everything["expires_ms"].astype("f4"))]
        assert sorted(in_kernel["cookie"].tolist()) == sorted(here["cookie"].tolist()), words
