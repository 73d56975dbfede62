"""Cures as plain values: every step there may be comes back as it was."""

from __future__ import annotations

import ipaddress
from typing import get_args

import msgspec
import pytest
from msgspec.structs import replace

from halfopen.core.closing_filter import ClosingFilter, peer
from halfopen.core.filters import Filter
from halfopen.core.findings import cures as steps
from halfopen.core.findings.cures import Cure, CureStep
from halfopen.core.policy.actions import Block, ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.policy.connection_actions import ChangeConnections
from halfopen.core.where import Namespace
from halfopen.wire import cures

WHERE = Namespace("boot", 5, 6, "web", "/run/netns/web")
BY = Filter(3.0, None, ((ipaddress.ip_address("192.0.2.1"), 443),), (ipaddress.ip_network("2001:db8::/64"),))
ENDS = ((None, 8080), (ipaddress.ip_address("2001:db8::1"), 80))
LASTING = ClosingFilter(("4711",), (8,), (peer("10.0.0.5:5432"),), 10.0, ("leak",), ENDS)
EVERY: tuple[CureStep, ...] = (
    Release(WHERE, BY, "why"),
    Protect(WHERE, ((None, 443), (ipaddress.ip_address("2001:db8::1"), 80)), "why", for_s=600.0),
    Block(WHERE, (ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_network("192.0.2.7/32")), 600.0, "why", 443),
    ChangeConnections(WHERE, "keepalive", LASTING, "why", 1000),
    ChangeSetting("web", "net.ipv4.tcp_synack_retries", 2, "why", "cost"),
    ChangeListener("web", "192.0.2.1", 443, "backlog", 4096, "why"),
    Look("web", "diagnose --for 10s", "why"),
    steps.LookAtProcess(7, "why", "stack"),
    steps.LookAtTracer(7, 9, "why"),
    steps.ContinueProcess(7, "why"),
    steps.ThawProcess(7, "/sys/fs/cgroup/a/cgroup.freeze", "why"),
    steps.RaiseDescriptors(7, 4096, "why"),
    steps.LookAtQuota("/a", "a.service", "why"),
    steps.LookAtRoute("web", "192.0.2.9", "why"),
    steps.LookAtHost("web", "device", "eth0", "why"),
    steps.LookAtPackets("web", "", None, "why"),
    steps.RaiseConntrack("web", 9, "why"),
    steps.RaiseOpenFiles(9, "why"),
)


def test_every_step_comes_back_as_it_was() -> None:
    assert {type(step) for step in EVERY} == set(get_args(CureStep))
    packed = msgspec.msgpack.encode(cures.raw_of(EVERY))
    back: Cure = cures.cure_of(msgspec.msgpack.decode(packed, type=cures.RawCure))
    assert back == EVERY


@pytest.mark.parametrize("raw", [("Popen", {}), ("Look", {"netns": "web"}), ("Release", {"where": 3})])
def test_what_is_no_cure_is_refused(raw: tuple[str, dict[str, object]]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        cures.cure_of((raw,))


def test_a_cure_of_before_there_were_listeners_is_read() -> None:
    name, values = cures.raw_of((ChangeConnections(WHERE, "keepalive", LASTING, "why", 1000),))[0]
    filter = {name: value for name, value in values["filter"].items() if name != "listeners"}
    [back] = cures.cure_of(((name, {**values, "filter": filter}),))
    assert isinstance(back, ChangeConnections)
    assert back.filter == replace(LASTING, listeners=())
