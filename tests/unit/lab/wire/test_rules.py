"""The wire's rules: which frames they meet, how long they delay, what they lose."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest

from halfopen.core.errors import UsageError
from halfopen.lab.frames import Path
from halfopen.lab.wire.rules import ParsedFrames, WireRule, WireRules, parse

SERVER = {4: "192.0.2.1", 6: "2001:db8:1::1"}
ONE, TWO = {4: "10.64.1.1", 6: "2001:db8:77:1::1"}, {4: "10.65.1.1", 6: "2001:db8:77:2::1"}
PREFIX = {4: "10.64.0.0/16", 6: "2001:db8:77:1::/64"}


def seen(family: int, kind: str = "syns") -> ParsedFrames:
    """Two frames to port 443, from ONE and TWO."""
    path = Path("02:00:00:00:00:02", "02:00:00:00:00:01", SERVER[family], 443)
    source = np.array([list(ipaddress.ip_address(a[family]).packed) for a in (ONE, TWO)], dtype=np.uint8)
    port, seq = np.array([2000, 3000]), np.array([1, 2])
    made = path.syns(source, port, seq, 0) if kind == "syns" else path.acks(source, port, seq, seq, 0, seq)
    lengths = np.full(2, made.shape[1])
    padded = np.zeros((2, 128), dtype=np.uint8)
    padded[:, : made.shape[1]] = made
    return parse(padded, lengths, True)


def judge(
    rules: list[WireRule], what: ParsedFrames, *, inward: bool = True, now_s: float = 0.0
) -> tuple[list[float], list[bool]]:
    delay, lost = WireRules(rules, 7).judge(what, inward, now_s)
    return delay.tolist(), lost.tolist()


@pytest.mark.parametrize("family", [4, 6])
def test_frames_are_parsed(family: int) -> None:
    syn, ack = seen(family), seen(family, "acks")
    assert syn.kind.tolist() == [1, 1]
    assert ack.kind.tolist() == [3, 3]
    assert syn.port.tolist() == [443, 443]
    assert syn.client_port.tolist() == [2000, 3000]
    assert syn.v6.tolist() == [family == 6] * 2


@pytest.mark.parametrize("family", [4, 6])
def test_a_rule_meets_its_prefix_alone(family: int) -> None:
    assert judge([WireRule(client=PREFIX[family], loss=1)], seen(family))[1] == [True, False]
    assert judge([WireRule(client=PREFIX[10 - family], loss=1)], seen(family))[1] == [False, False]


@pytest.mark.parametrize(
    ("rule", "lost"),
    [
        (WireRule("in", "syn", loss=1), True),
        (WireRule("out", "syn", loss=1), False),
        (WireRule("in", "ack", loss=1), False),
        (WireRule("both", "any", port=443, loss=1), True),
        (WireRule("both", "any", port=80, loss=1), False),
        (WireRule(loss=1, from_s=5), False),
        (WireRule(loss=1, until_s=1), False),
        (WireRule(loss=1, from_s=1, until_s=5), True),
    ],
)
def test_a_rule_meets_its_way_kind_port_and_time(rule: WireRule, lost: bool) -> None:
    assert judge([rule], seen(4), now_s=2.0)[1] == [lost, lost]


def test_the_last_delay_holds() -> None:
    rules = [WireRule(delay_s=0.1), WireRule(client=PREFIX[4], delay_s=0.5)]
    assert judge(rules, seen(4))[0] == [0.5, 0.1]


def test_a_client_keeps_its_distance() -> None:
    rules = WireRules([WireRule(delay_s=0.1, spread_s=0.2)], 7)
    first, again = (rules.judge(seen(4, kind), True, 0.0)[0].tolist() for kind in ("syns", "acks"))
    assert first == again
    assert first[0] != first[1]
    assert all(0.1 <= delay <= 0.3 for delay in first)


def test_a_loss_ends_after_its_most() -> None:
    rules = WireRules([WireRule(loss=1, most=3)], 7)
    assert [int(rules.judge(seen(4), True, 0.0)[1].sum()) for _ in range(3)] == [2, 1, 0]
    assert rules.lost == [3]


def test_a_share_is_lost() -> None:
    rules = WireRules([WireRule(loss=0.3)], 7)
    lost = sum(int(rules.judge(seen(4), True, 0.0)[1].sum()) for _ in range(2000))
    assert lost == pytest.approx(1200, rel=0.1)


@pytest.mark.parametrize(
    "rule",
    [
        WireRule(delay_s=-1),
        WireRule(delay_s=40),
        WireRule(loss=2),
        WireRule(client="nowhere"),
        WireRule("up"),  # type: ignore[arg-type]
        WireRule(kind="udp"),  # type: ignore[arg-type]
    ],
)
def test_impossible_rules_are_refused(rule: WireRule) -> None:
    with pytest.raises(UsageError):
        rule.check()


@pytest.mark.parametrize("rule", [WireRule(), WireRule("in", "syn", "10.0.0.0/8", 1, 0.1, 0.2, 0.3, 0.4, 5, 6.0, 7.0)])
def test_rules_travel_as_json(rule: WireRule) -> None:
    assert WireRule.from_json(rule.as_json()) == rule
