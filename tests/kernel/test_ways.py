"""The way back to clients, read on a real host with two devices."""

from __future__ import annotations

import errno
import socket

import pytest

import halfopen
from halfopen.core.findings.finding import Finding
from halfopen.core.findings.verdict import judge
from halfopen.core.sample.ways import AskedWay, WayBack
from halfopen.lab import Lab
from halfopen.ops.looks import looks
from halfopen.present.findings.sentences import say
from halfopen.read import ways
from peers import until
from verdicts import number

FAR, FAR6 = "10.9.8.7", "2001:db8:9:8::7"


@pytest.fixture
def two(lab: Lab) -> Lab:
    """A server with a second device, which leads to FAR and FAR6; nobody is there."""
    run(lab, "link add second type veth peer name second-end")
    run(lab, "link set second up")
    run(lab, "link set second-end up")
    run(lab, "route add 10.9.0.0/16 dev second")
    run(lab, "-6 route add 2001:db8:9::/48 dev second")
    return lab


def run(lab: Lab, words: str) -> None:
    done = lab.server.exec(["ip", *words.split()])
    assert done.returncode == 0, done.stderr


def index(lab: Lab, device: str) -> int:
    return lab.server.run(lambda: socket.if_nametoindex(device))


def test_the_route_that_the_kernel_takes(two: Lab) -> None:
    lab = two
    asked = [
        AskedWay(True, number(lab.client.v4), lab.server.v4, came_by=index(lab, lab.server.device)),
        AskedWay(True, number(FAR), lab.server.v4, came_by=index(lab, lab.server.device)),
        AskedWay(False, number(FAR6)),
        # Bound to a device, a socket goes by that.
        AskedWay(True, number(FAR), bound=index(lab, lab.server.device)),
    ]
    own = lab.server.device
    run(lab, f"route add 10.9.0.0/16 dev {own} metric 7")
    near, far, far6, bound = lab.server.run(lambda: ways.read(asked)).ways
    assert near == WayBack(number(lab.client.v4), own, own)
    assert (far.device, far.came_by, far.elsewhere) == ("second", own, True)
    assert (far6.device, far6.came_by, far6.elsewhere) == ("second", "", False)
    assert bound.device == own


def test_a_rule_for_the_address_that_answers_decides(two: Lab) -> None:
    """As on a host with two uplinks: by the main table alone the way would look like a wrong one."""
    lab, own = two, two.server.device
    run(lab, f"rule add from {lab.server.v4} table 77")
    run(lab, f"route add default dev {own} table 77")
    came_by = index(lab, own)
    asked = [AskedWay(True, number(FAR), lab.server.v4, came_by=came_by), AskedWay(True, number(FAR), came_by=came_by)]
    known, unknown = lab.server.run(lambda: ways.read(asked)).ways
    assert (known.device, known.elsewhere) == (own, False)
    # Without the address nothing is compared.
    assert (unknown.device, unknown.came_by, unknown.elsewhere) == ("second", "", False)


def test_no_way_at_all(two: Lab) -> None:
    lab = two
    run(lab, "route add unreachable 10.10.0.0/16")
    asked = [AskedWay(True, number("10.10.1.1"), lab.server.v4), AskedWay(True, number("203.0.113.9"), lab.server.v4)]
    refused, missing = lab.server.run(lambda: ways.read(asked)).ways
    assert (refused.device, refused.error) == ("", errno.EHOSTUNREACH)
    assert (missing.device, missing.error) == ("", errno.ENETUNREACH)


@pytest.mark.root
def test_synacks_that_leave_by_another_device_are_lost_for_that_reason(two: Lab) -> None:
    lab, own = two, two.server.device
    web = lab.server.listen(8080)
    run(lab, f"route replace {lab.client.v4}/32 dev second")
    run(lab, f"neigh replace {lab.client.v4} lladdr 02:00:00:00:00:99 dev second nud permanent")

    def connect() -> list[socket.socket]:
        made = [socket.socket() for _ in range(8)]
        for s in made:
            s.setblocking(False)
            s.connect_ex((lab.server.v4, web.port))
        return made

    def found() -> Finding | None:
        [seen] = looks(lambda: [halfopen.snapshot(lab.server.netns_path)])
        verdict = judge(seen.now, seen.before, seen.interval_s)
        # In half a second none of them may have asked again.
        return next((f for f in verdict.findings if f.id == "synacks-lost" and f.has("came_by")), None)

    clients = lab.client.run(connect)
    try:
        lost: list[Finding] = []
        until(lambda: bool(lost.extend(f for f in [found()] if f is not None) or lost), timeout=25)
        assert (lost[0].text("came_by"), lost[0].text("back_by")) == (own, "second")
        assert f"their SYNs come in by {own}, and the route back leaves by second" in say(lost[0])
    finally:
        for s in clients:
            s.close()
