"""The line of `check`, as monitoring systems read it."""

from __future__ import annotations

import re

from msgspec.structs import replace

from halfopen.core.check import CheckOutcome, CheckState, Thresholds, level, outcome, ranges
from halfopen.core.fields.check import CHECKED, CheckedValues
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.core.sample.before_tcp import BeforeTcp, IpIn
from halfopen.core.sample.head import Completeness
from halfopen.present.check import line, performance, told
from rows import UNSEEN, listener, named, request, sample

VALUES = CheckedValues(1234567, 12.5, 0.25, 3, 7)
# https://www.monitoring-plugins.org/doc/guidelines.html#AEN197
DATUM = re.compile(r"[a-z_]+=(-?\d+(\.\d+)?(s)?|U);[-@~:.\d]*;[-@~:.\d]*;0")


def test_performance_data_is_as_the_guidelines_have_it() -> None:
    thresholds = Thresholds(ranges(["500", "oldest=~:10"], what="-w"), ranges(["@2000:3000"], what="-c"))
    text = performance(VALUES, thresholds)
    assert text == (
        "half_open=1234567;500;@2000:3000;0 oldest=12.5s;~:10;;0 drops_per_s=0.25;;;0 accept_queue=3;;;0 "
        "close_wait=7;;;0"
    )
    assert all(DATUM.fullmatch(word) for word in text.split())
    assert [word.partition("=")[0] for word in text.split()] == [one.name for one in CHECKED]


def test_what_is_not_known_is_no_number() -> None:
    text = performance(replace(VALUES, drops_per_s=None, oldest_s=1e-9), Thresholds())
    assert "drops_per_s=U;;;0" in text
    assert "oldest=0s;" in text


def test_one_line_with_one_bar_whatever_it_says() -> None:
    made = line(CheckState.CRITICAL, "a|b\nc \x1b[31m", "x=1;;;0")
    assert made.startswith("HALFOPEN CRITICAL - a/b c ")
    assert made.count("|") == 1
    assert "\n" not in made
    assert "\x1b" not in made
    assert line(CheckState.OK, "fine") == "HALFOPEN OK - fine"


def test_the_worst_namespace_is_named_with_what_decides() -> None:
    quiet = build(replace(sample([], [listener()]), where=named("quiet")))
    rows = [request(f"203.0.113.{i % 250}", source_port=i, retransmits=4, cookie=i) for i in range(1, 900)]
    busy = build(replace(sample(rows, [listener(limit=4096)]), where=named("busy")))
    found = [(one, judge(one), UNSEEN) for one in (quiet, busy)]
    assert found[1][1].level > found[0][1].level
    values, thresholds = CheckedValues(899, 31.0, 0.0, 0), Thresholds(critical=ranges(["100"], what="-c"))
    text = told(found, values, outcome(values, thresholds, [], whole=True), [])
    assert text.startswith("899 half-open connections")
    assert "(busy, the worst of 2 namespaces)" in text
    assert text.endswith("; half_open is 899 (told at 100)")


def test_what_could_not_be_read_is_told_a_few_times() -> None:
    one = sample([], [listener()])
    broken = build(replace(one, completeness=Completeness("proc", False, ("no netlink here",), ())))
    text = told(
        [(broken, judge(broken), UNSEEN)],
        VALUES,
        CheckOutcome(CheckState.UNKNOWN),
        [f"pid:{n}: gone" for n in range(9)],
    )
    assert text.count("no netlink here") == 1
    assert "; no netlink here; not read: pid:0: gone; not read: pid:1: gone; and 7 more" in text


def test_a_healthy_line_tells_what_rules_drop() -> None:
    before = BeforeTcp(100.0, ip=IpIn(1000, 900, 0))
    lost = BeforeTcp(101.0, ip=IpIn(1600, 1000, 0), earlier=before)
    model = replace(build(replace(sample([], [listener()]), parts=(lost,))), rates={"ListenDrops": 0.0})
    verdict = judge(model, between_s=1.0)
    found = outcome(VALUES, Thresholds(), [level(verdict)], whole=True)
    assert found.state is CheckState.OK
    assert "rules drop packets between IP and TCP (500/s, 83% of what arrives)" in told(
        [(model, verdict, UNSEEN)], VALUES, found, []
    )
