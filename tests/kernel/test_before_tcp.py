"""Packets that are lost before TCP on a real host, as `status` judges it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

import halfopen
from halfopen.core.errors import Unsupported
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import judge
from halfopen.core.sample.before_tcp import BeforeTcp
from halfopen.lab.scenes import scene
from halfopen.lab.scenes.stage import Stage
from halfopen.ops.looks import looks
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def worst(stage: Stage) -> tuple[Finding, BeforeTcp]:
    """What is named first, and the part of the reading that it rests on."""
    [seen] = looks(lambda: [halfopen.snapshot(stage.server.netns_path)])
    part = seen.now.sample.part(BeforeTcp)
    assert part is not None
    assert part.earlier is not None
    return judge(seen.now, seen.before, seen.interval_s).findings[0], part


def test_a_strict_reverse_path() -> None:
    with scene("reverse-path", 7) as stage:
        begun = stage.moved("IPReversePathFilter")
        found, _ = worst(stage)
        assert found.id == "reverse-path-filter"
        # The kernel's own count over a longer time holds what was seen in the half second between the looks.
        assert 0 < found.number("IPReversePathFilter_per_s") * 0.5 <= stage.moved("IPReversePathFilter") - begun + 1


def test_a_full_table_of_tracked_connections() -> None:
    try:
        with scene("conntrack-full", 7) as stage:
            found, part = worst(stage)
            most = int(stage.server.sysctl("net.netfilter.nf_conntrack_max"))
    except Unsupported as e:
        pytest.skip(e.line())
    assert (found.id, found.level.name) == ("conntrack-full", "CRITICAL")
    assert part.conntrack is not None
    assert part.conntrack.limit == most
    assert part.conntrack.count >= 0.9 * most
    assert found.number("conntrack_drops_per_s") > 0


@pytest.mark.parametrize("kind", ["unreachable", "blackhole"])
def test_syns_that_have_no_route_back(lab: Lab, kind: str) -> None:
    web = lab.server.listen(8080)
    lab.server.exec(["ip", "route", "replace", kind, "198.18.0.0/15"], check=True)

    def send(_: float) -> None:
        lab.client.half_open(web, 100)
        until(lambda: halfopen.snapshot(lab.server.netns_path).sample.counters["ListenDrops"] >= 100)

    [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)], deep=True, pause=send)
    found = judge(seen.now, seen.before, seen.interval_s).findings[0]
    assert (found.id, found.at.port) == ("no-route-back", 8080)


def test_rules_that_drop_what_arrives(lab: Lab) -> None:
    rules = "table inet test { chain input { type filter hook input priority 0; udp dport 9 drop; }; }"
    lab.server.exec(["nft", rules], check=True)
    sender = lab.client.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def send(_: float) -> None:
        for _ in range(500):
            sender.sendto(b"x", ("192.0.2.1", 9))

    with sender:
        [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)], deep=True, pause=send)
    [found] = [one for one in judge(seen.now, seen.before, seen.interval_s).findings if one.id == "dropped-by-rules"]
    assert found.number("dropped_per_s") > 0
    assert found.number("dropped_share") > 0.5
