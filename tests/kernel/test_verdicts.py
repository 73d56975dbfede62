"""Verdicts on a real host: what is named, and what is never accused or proposed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

import halfopen
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.policy.actions import Release
from halfopen.lab import Lab
from halfopen.ops.looks import looks
from peers import until

if TYPE_CHECKING:
    from halfopen.lab.client import Sources


def verdict(lab: Lab, *, instant: bool = False) -> Verdict:
    """As `status` judges the server."""
    [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)], instant=instant)
    return judge(seen.now, seen.before, seen.interval_s)


def ids(found: Verdict) -> list[str]:
    return [f.id for f in found.findings]


def releases(found: Verdict) -> list[Release]:
    return [action for cure in found.next for action in cure if isinstance(action, Release)]


@pytest.mark.parametrize(("sources", "id"), [("spoofed", "spoofed-flood"), ("few", "few-sources-flood")])
def test_a_flood_is_named_once_it_lasts(lab: Lab, sources: Sources, id: str) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300, sources=sources)
    lab.settle(300)
    young = verdict(lab)
    if halfopen.snapshot(lab.server.netns_path).oldest_s < 2:
        assert ids(young) == ["cannot-tell"]
        assert not releases(young)
    until(lambda: halfopen.snapshot(lab.server.netns_path).oldest_s > 3.5)
    once = verdict(lab, instant=True)
    assert ids(once) == ["cannot-tell"]
    assert not releases(once)
    found = verdict(lab)
    assert ids(found)[0] == id
    assert found.findings[0].count("lasting") == 300


def test_clients_that_do_not_hear_the_server_are_named_and_never_released(lab: Lab) -> None:
    """The SYN-ACKs go to a device that is not there."""
    web = lab.server.listen(8080)
    deaf = ["ip", "neigh", "replace", lab.client.v4, "lladdr", "02:00:00:00:00:99", "dev", lab.server.device]
    assert lab.server.exec([*deaf, "nud", "permanent"]).returncode == 0

    def connect() -> list[socket.socket]:
        made = []
        for _ in range(8):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex((lab.server.v4, web.port))
            made.append(s)
        return made

    clients = lab.client.run(connect)
    try:
        until(lambda: ids(verdict(lab)) == ["synacks-lost"], timeout=60)
        found = verdict(lab)
        assert found.findings[0].at.port == web.port
        assert found.findings[0].count("repeated") >= 5
        assert not releases(found)
        # The socket counts their SYNs, sent again and answered, as drops; nobody was turned away.
        [view] = (seen := halfopen.snapshot(lab.server.netns_path)).listeners
        assert (view.drops, seen.sample.counters["ListenDrops"]) == (0, 0)
        assert seen.sample.listeners["drops"][0] > 0
    finally:
        for s in clients:
            s.close()


def test_a_backlog_of_zero_that_nobody_accepts_from(lab: Lab) -> None:
    stuck = lab.server.listen(9002, mode="never", backlog=0)
    client = lab.client.connect(stuck, 1, timeout=1.0)
    until(lambda: halfopen.snapshot(lab.server.netns_path).listeners[0].accept_queue == 1)
    found = verdict(lab)
    assert (ids(found), found.level) == (["app-not-accepting"], Level.CRITICAL)
    assert found.findings[0].count("accepted_at_most") == 0
    assert found.findings[0].fact("accept_queue").limit == 1
    client.close()
