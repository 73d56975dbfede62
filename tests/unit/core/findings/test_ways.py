"""The way back to clients that hear nothing: who is asked for, and what it says of the cause."""

from __future__ import annotations

import errno
import ipaddress
from typing import Any

import pytest

from halfopen.core.findings.cures import LookAtRoute
from halfopen.core.findings.ways import wanted
from halfopen.core.model.model import build, with_parts
from halfopen.core.sample.ways import AskedWay, WayBack, WaysBack
from halfopen.present.findings.sentences import say
from rows import listener, request
from verdicts import arrivals, asking, model_of, number, second_look, silent

CLIENT = "10.1.2.3"


def deaf(address: str = CLIENT, n: int = 8) -> list[Any]:
    """n requests of one client that asks again."""
    family = 10 if ":" in address else 2
    return [
        request(address, family=family, local="2001:db8::1" if family == 10 else "192.0.2.1", source_port=1024 + i)
        for i in range(n)
    ]


def again(rows: list[Any]) -> list[Any]:
    for row in rows:
        row["retransmits"], row["expires_ms"] = 8, 500
    return rows


def test_who_asks_again_is_asked_for_with_what_was_counted_of_its_syns() -> None:
    model = model_of(again(deaf()))
    assert wanted(model) == (AskedWay(True, number(CLIENT)),)
    local = int(ipaddress.ip_address("::ffff:192.0.2.1"))
    counted = {"syns": 4, "repeats": 4, "ifindex": 3, "local_high": local >> 64, "local_low": local & (2**64 - 1)}
    told = with_parts(model, arrivals({CLIENT: counted}))
    assert wanted(told) == (AskedWay(True, number(CLIENT), "192.0.2.1", 0, 3),)
    # Of another port it tells nothing.
    assert wanted(with_parts(model, arrivals({f"{CLIENT} 81": counted})))[0].came_by == 0


def test_an_ipv6_client_and_a_listener_that_is_bound_to_a_device() -> None:
    rows = again(deaf("2001:db8:7:8::9"))
    for row in rows:
        row["ifindex"] = 5
    model = model_of(rows, listener("::", ifindex=5))
    assert wanted(model) == (AskedWay(False, number("2001:db8:7:8::9"), bound=5),)


def test_nobody_is_asked_for_where_nobody_asks_again() -> None:
    assert wanted(model_of(silent(300))) == ()
    assert wanted(model_of(again(deaf(n=4)))) == ()


@pytest.mark.parametrize(
    ("way", "facts", "told"),
    [
        (WayBack(0, "eth1", "eth0"), {"back_by": "eth1", "came_by": "eth0"}, "and the route back leaves by eth1"),
        (WayBack(0, "eth0", "eth0"), {"back_by": "eth0", "came_by": "eth0"}, "the way is cut behind it"),
        (WayBack(0, "eth1"), {"back_by": "eth1"}, "a firewall or route drops the way back"),
        (WayBack(0, error=errno.ENETUNREACH), {"no_way_back": "ENETUNREACH"}, "has no route back to them"),
    ],
)
def test_the_way_back_is_a_fact_of_synacks_that_are_lost(way: WayBack, facts: dict[str, str], told: str) -> None:
    ways = WaysBack((WayBack(number(CLIENT), way.device, way.came_by, way.error),))
    verdict, ids = second_look(again(deaf()), parts=(ways,))
    found = verdict.findings[0]
    assert ids == ["synacks-lost"]
    assert {
        fact.name: fact.value for fact in found.facts if fact.name in ("back_by", "came_by", "no_way_back")
    } == facts
    assert told in say(found)
    assert ways.ways[0].elsewhere is (way.came_by == "eth0" != way.device)


def test_the_way_to_another_client_says_nothing() -> None:
    verdict, _ = second_look(asking(8), parts=(WaysBack((WayBack(number(CLIENT), "eth1", "eth0"),)),))
    assert not verdict.findings[0].has("back_by")


def test_the_route_to_an_ipv6_client_is_shown_as_well() -> None:
    client = "2001:db8:7:8::9"
    parts = (WaysBack((WayBack(number(client), "eth1"),)),)
    verdict, _ = second_look(again(deaf(client)), listener("::", limit=1000), parts=parts)
    assert (LookAtRoute("self", "2001:db8:7:8::", "synacks-lost"),) in verdict.findings[0].cures


def test_sources_whose_syns_are_dropped_are_asked_for_and_a_missing_route_is_the_cause() -> None:
    """IPv6: no counter tells of a route that is unreachable (`ip6_dst_lookup_tail()`)."""
    lost = {f"2001:db8:7:{i:x}::1": {"syns": 3, "ifindex": 3} for i in range(1, 20)}
    seen = arrivals({**lost, "2001:db8:1::1": {"syns": 9, "finished": 9, "ifindex": 3}})
    dropping = model_of([], counters={"ListenDrops": 100}, monotonic_s=100.5)
    before = model_of([], counters={"ListenDrops": 43}, monotonic_s=100.0)
    model = with_parts(build(dropping.sample, before.sample), seen)
    assert [one.number for one in wanted(model)] == [number(source) for source in list(lost)[:4]]
    # Others of the same /64 answered before the route was lost.
    answered = arrivals({"2001:db8:7:1::1": {"syns": 9, "acks": 2, "ifindex": 3}})
    assert len(wanted(with_parts(build(dropping.sample, before.sample), answered))) == 1
    calm = with_parts(build(dropping.sample, dropping.sample), seen)
    assert wanted(calm) == ()
    for errors, found in (((errno.ENETUNREACH,) * 3, True), ((errno.ENETUNREACH, 0, 0), False)):
        ways = WaysBack(
            tuple(
                WayBack(number(source), "" if error else "eth0", error=error)
                for source, error in zip(lost, errors, strict=False)
            )
        )
        verdict, ids = second_look([], rates={"ListenDrops": 57 / 0.5}, parts=[seen, ways])
        assert (ids == ["no-route-back"]) is found
        if found:
            assert "for 2001:db8:7:1:: the kernel finds none (ENETUNREACH)" in say(verdict.findings[0])
            assert verdict.next == ((LookAtRoute("self", "2001:db8:7:1::", "no-route-back"),),)
