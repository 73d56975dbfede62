"""Signatures, ages, groups and ports of open and closing connections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connections import aged, sockets
from halfopen.core.closing_filter import ClosingFilter, peer, state
from halfopen.core.errors import UsageError
from halfopen.core.model.closing import build_closing
from halfopen.core.model.closing_ages import ages
from halfopen.core.model.closing_kinds import Signature, signatures
from halfopen.core.model.closing_ports import port_room
from halfopen.core.sample.closing import (
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    KEEPALIVE,
    MINI,
    ORPHAN,
    PROBE,
    RETRANSMIT,
    TIME_WAIT,
)
from halfopen.core.sample.listeners import Process
from halfopen.core.units import endpoint

NOBODY = np.empty(0, dtype=np.uint16)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, Signature.END_UNREAD),
        ({"unread": 0}, Signature.END_READ),
        ({"unread": 0, "sent_ms": 3000}, Signature.STILL_SENDING),
        ({"unread": 0, "sent_ms": 3000, "received_ms": 2900}, Signature.END_READ),
        ({"unread": 117}, Signature.DATA_UNREAD),
        ({"inode": 0}, Signature.UNACCEPTED),
        ({"inode": 0, "state": ESTABLISHED}, Signature.UNACCEPTED),
        ({"state": ESTABLISHED, "unread": 0}, Signature.IDLE),
        ({"state": ESTABLISHED, "sent_ms": 50}, Signature.ACTIVE),
        ({"state": ESTABLISHED, "unread": 40_000}, Signature.UNREAD),
        ({"state": ESTABLISHED, "timer": PROBE, "unacked": 700_000}, Signature.PEER_NOT_READING),
        ({"state": ESTABLISHED, "timer": PROBE, "probes": 6}, Signature.PEER_SILENT),
        ({"state": ESTABLISHED, "timer": RETRANSMIT, "retransmits": 5}, Signature.PEER_SILENT),
        ({"state": ESTABLISHED, "timer": RETRANSMIT, "retransmits": 1, "sent_ms": 9}, Signature.ACTIVE),
        ({"state": FIN_WAIT2}, Signature.HELD),
        ({"state": FIN_WAIT2, "inode": 0, "flags": MINI}, Signature.ORPHANED),
        ({"state": FIN_WAIT1, "inode": 0, "flags": ORPHAN}, Signature.RETRYING),
        ({"state": TIME_WAIT, "inode": 0, "flags": MINI}, Signature.WAITING),
        # The peer closed its half alone; retransmissions renew the time at which data was sent.
        ({"unread": 0, "sent_ms": 900, "timer": RETRANSMIT, "retransmits": 4}, Signature.PEER_SILENT),
        ({"unread": 0, "sent_ms": 900, "timer": RETRANSMIT, "retransmits": 1}, Signature.STILL_SENDING),
        ({"unread": 0, "timer": PROBE, "unacked": 700_000}, Signature.PEER_NOT_READING),
        ({"unread": 0, "timer": PROBE, "probes": 4}, Signature.PEER_SILENT),
        ({"inode": 0, "timer": PROBE}, Signature.UNACCEPTED),
        ({"state": FIN_WAIT1, "inode": 0, "flags": ORPHAN, "timer": PROBE}, Signature.PEER_NOT_READING),
        ({"state": FIN_WAIT1, "inode": 0, "flags": ORPHAN, "timer": PROBE, "probes": 4}, Signature.RETRYING),
    ],
)
def test_signatures(row: dict[str, Any], expected: Signature) -> None:
    assert [Signature(int(one)) for one in signatures(sockets(row).rows)] == [expected]


@pytest.mark.parametrize(
    ("row", "least_s", "most_s"),
    [
        ({"heard_ms": 8300}, 8.3, 8.3),
        ({"heard_ms": 300, "received_ms": 9400, "flags": KEEPALIVE}, 0.3, 9.4),
        # Data is still sent to a client that closed only its half; a leak that was answered right before.
        ({"heard_ms": 3000, "sent_ms": 3010, "received_ms": 40_000}, 3.0, 40.0),
        ({"heard_ms": 3000, "sent_ms": 3010, "received_ms": 3020}, 3.0, 3.0),
        ({"state": FIN_WAIT2, "heard_ms": 3000, "received_ms": 3000, "sent_ms": 40_000}, 3.0, 40.0),
        ({"state": FIN_WAIT2, "heard_ms": 3000, "received_ms": 9000, "sent_ms": 40_000}, 3.0, 3.0),
        ({"state": ESTABLISHED, "received_ms": 5000, "sent_ms": 7000, "heard_ms": 100}, 5.0, 5.0),
        ({"state": ESTABLISHED, "timer": RETRANSMIT, "retransmits": 4, "sent_ms": 100, "heard_ms": 12_000}, 12.0, 12.0),
        ({"state": FIN_WAIT1, "timer": PROBE, "sent_ms": 9000, "heard_ms": 100}, 9.0, 9.0),
        ({"state": FIN_WAIT1, "timer": RETRANSMIT, "sent_ms": 100, "heard_ms": 9000}, 9.0, 9.0),
        ({"state": TIME_WAIT, "flags": MINI, "expires_ms": 45_000}, 15.0, 15.0),
        ({"state": FIN_WAIT2, "flags": MINI, "expires_ms": 45_000}, 5.0, 5.0),
    ],
)
def test_ages_are_exact_or_between_bounds(row: dict[str, Any], least_s: float, most_s: float) -> None:
    found = ages(sockets(row).rows, 50.0)
    assert (found.at_least_s[0], found.at_most_s[0]) == pytest.approx((least_s, most_s))


def test_groups_are_of_process_state_peer_and_signature() -> None:
    rows = [*aged([1, 2, 3]), *aged([4], unread=9), *aged([5], remote_port=6379), *aged([6], local_port=80)]
    model = build_closing(sockets(*rows), np.array([80]))
    assert {(g.peer, g.signature.word, g.count, g.incoming) for g in model.groups} == {
        ("10.0.0.5:5432", "end-unread", 3, False),
        ("10.0.0.5:5432", "data-unread", 1, False),
        ("10.0.0.5:6379", "end-unread", 1, False),
        ("clients of :80", "end-unread", 1, True),
    }
    assert model.groups[0].process is not None
    assert model.groups[0].process.name == "java"


def test_the_rate_of_a_leak_comes_from_the_ages_of_one_look() -> None:
    [group] = build_closing(sockets(*aged([i / 5 for i in range(200)])), NOBODY).groups
    assert (group.count, group.new, group.even) == (200, 50, True)
    assert group.per_s == pytest.approx(5.0)
    assert group.grows


def test_one_young_connection_is_no_hundred_a_second() -> None:
    [group] = build_closing(sockets(*aged([0.01])), NOBODY).groups
    assert group.per_s == 1.0


def test_a_clump_is_not_even() -> None:
    [group] = build_closing(sockets(*aged([30 + i / 1000 for i in range(60)])), NOBODY).groups
    assert not group.even
    assert not group.grows
    [fresh] = build_closing(sockets(*aged([2 + i / 1000 for i in range(60)])), NOBODY).groups
    assert fresh.new == 60
    assert fresh.grows is False


def test_few_connections_to_each_of_many_peers_are_one_group() -> None:
    many = [{**row, "remote": 0x0B000000 + i} for i, row in enumerate(aged([float(i) for i in range(40)]))]
    model = build_closing(sockets(*many, *aged([5.0] * 12), *many[:15]), NOBODY)
    assert [(g.peer, g.peers, g.count) for g in model.groups] == [("40 peers", 40, 55), ("10.0.0.5:5432", 1, 12)]
    assert model.groups[0].even
    few = build_closing(sockets(*many[:20]), NOBODY).groups
    assert {g.peers for g in few} == {1}
    nobodys = build_closing(sockets(*[{**row, "inode": 0} for row in many]), NOBODY).groups
    assert {g.peers for g in nobodys} == {1}
    waiting = [{**row, "inode": 0, "state": TIME_WAIT, "flags": MINI} for row in many]
    assert [g.peers for g in build_closing(sockets(*waiting), NOBODY).groups] == [40]


def test_two_looks_tell_what_came_and_what_left() -> None:
    before = sockets(*aged([5, 5, 5]), at_s=100.0)
    now = sockets(*aged([15, 15, 15, 2, 2]), at_s=110.0)
    [group] = build_closing(now, NOBODY, before).groups
    assert (group.came, group.left, group.moved) == (2, 0, 2)
    [group] = build_closing(before, NOBODY, now).groups
    assert (group.came, group.left) == (0, 2)


def test_ports_are_counted_by_destination_without_the_reserved_ones() -> None:
    rows = [{"state": TIME_WAIT, "flags": MINI, "inode": 0} for _ in range(30)]
    part = sockets(
        *rows, *aged([1], remote_port=443), ip_local_port_range="1000 1099", ip_local_reserved_ports="1000-1039"
    )
    assert port_room(part) == 60
    first, second = build_closing(part, NOBODY).destinations
    assert (first.peer, first.used, first.waiting, first.share) == ("10.0.0.5:5432", 30, 30, 0.5)
    assert (second.peer, second.used, second.waiting) == ("10.0.0.5:443", 1, 0)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (ClosingFilter(), 4),
        (ClosingFilter(processes=("java",)), 4),
        (ClosingFilter(processes=("4712",)), 0),
        (ClosingFilter(states=(state("close_wait"),)), 3),
        (ClosingFilter(peers=(peer("10.0.0.0/8"),)), 4),
        (ClosingFilter(peers=(peer("10.0.0.5:443"),)), 1),
        (ClosingFilter(peers=(peer(":443"), peer("10.0.0.6"))), 1),
        (ClosingFilter(idle_s=10.0), 3),
        (ClosingFilter(kinds=("end-unread",)), 3),
        (ClosingFilter(listeners=((None, 40000),)), 1),
        (ClosingFilter(listeners=(endpoint("10.0.0.1:40001"), endpoint("10.0.0.1:40002"))), 2),
        (ClosingFilter(listeners=(endpoint("0.0.0.0:40000"),)), 1),
        (ClosingFilter(listeners=(endpoint("10.0.0.2:40000"),)), 0),
        (ClosingFilter(listeners=(endpoint("[::1]:40000"),)), 0),
    ],
)
def test_filters(filter: ClosingFilter, expected: int) -> None:
    part = sockets({}, {}, {"remote_port": 443}, {"state": ESTABLISHED, "received_ms": 5})
    assert int(filter.mask(part).sum()) == expected


@pytest.mark.parametrize("word", ["java", "shop.service", "shop", "0123456789ab", "pod/shop"])
def test_a_process_is_called_by_its_unit_and_container_too(word: str) -> None:
    assert Process(4711, "java", "shop.service", "0123456789ab", "pod/shop").called(word)
    assert not Process(4711, "python3").called(word)
    assert not Process(4711, "").called("")


def test_a_filter_reads_as_its_own_arguments() -> None:
    made = ClosingFilter(("java",), (8,), (peer("[2001:db8::1]:443"), peer(":80")), 0.4)
    assert made.arguments() == " --process java --state close-wait --peer [2001:db8::1]:443 --peer :80 --idle 0.4s"
    assert made.describe() == "of java, in CLOSE_WAIT, with [2001:db8::1]:443 or :80, idle for 0.4 s"
    made = ClosingFilter(listeners=((None, 8080), endpoint("[2001:db8::1]:80")))
    assert made.arguments() == " --listener :8080 --listener [2001:db8::1]:80"
    assert made.describe() == "on :8080 or [2001:db8::1]:80"
    with pytest.raises(UsageError):
        state("closed")
    with pytest.raises(UsageError):
        peer("nobody")


def test_the_clients_of_a_listener_are_no_peer_and_it_says_what_to_use() -> None:
    [group] = build_closing(sockets({}), np.array([40000], dtype=np.uint16)).groups
    with pytest.raises(UsageError) as caught:
        peer(group.peer)
    assert caught.value.hint.endswith("--listener :40000")
    part = sockets({}, {})
    assert ClosingFilter(peers=(peer(":40001"),)).why_none(part).endswith("--listener :40001")
    for one in (":5432", "10.0.0.9", ":40009"):
        assert ClosingFilter(peers=(peer(one),)).why_none(part) == ""
    assert ClosingFilter(peers=(peer(":40001"), peer(":5432"))).why_none(part) == ""
