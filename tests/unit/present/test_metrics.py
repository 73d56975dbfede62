"""Metrics: what a watch reported, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from halfopen.core.fields.field import Kind
from halfopen.core.fields.metrics import LISTENER_METRICS, NAMESPACE_METRICS
from halfopen.core.filters import Filter
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Rising
from halfopen.core.where import Namespace
from halfopen.present.metrics import Metrics
from rows import SELF, listener, named, request, sample

ALARM = Alarm(SELF, None, 9, 9, 9, 1.0, 5.0, "unanswered")


def parsed(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) → value; each must be there once."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for one in family.samples:
            key = (one.name, frozenset(one.labels.items()))
            assert key not in found
            found[key] = one.value
    return found


def value(metrics: Metrics, metric: str, /, **labels: str) -> float | None:
    return parsed(metrics).get((f"halfopen_{metric}", frozenset(labels.items())))


def labels(netns: str = "self", **more: str) -> Mapping[str, str]:
    return {"netns": netns, "family": "ipv4", "address": "0.0.0.0", "port": "8080", "ifindex": "0", **more}


def model(n: int = 3, netns: str = "self", **values: int) -> Model:
    rows = [request(source_port=1024 + i, retransmits=i % 2, cookie=i + 1) for i in range(n)]
    one = sample(rows, [listener(accept_queue=7, limit=128, drops=5, **values)])
    return build(replace(one, where=named(netns), counters={"ListenDrops": 11, "CurrEstab": 4, "Unknown": 1}))


def test_every_metric_of_the_registry_is_there_once_and_as_it_says() -> None:
    metrics, one = Metrics(), model()
    metrics.reading(one, judge(build(replace(one.sample, settings={"tcp_syncookies": 0}))))
    metrics.alarm(ALARM)
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().decode())}
    assert len(families) == len(NAMESPACE_METRICS) + len(LISTENER_METRICS)
    for field in (*NAMESPACE_METRICS, *LISTENER_METRICS):
        family = families[f"halfopen_{field.name}"]
        assert (family.type, family.documentation) == (field.kind.value, field.plain_help)
        assert family.samples, field.name
        counted = all(one.name.endswith("_total") for one in family.samples)
        assert counted == (field.kind is Kind.COUNTER)


def test_values() -> None:
    metrics = Metrics()
    metrics.reading(model())
    assert value(metrics, "connections", netns="self") == 3
    assert value(metrics, "setting", netns="self", name="tcp_syncookies") == 1
    assert value(metrics, "kernel_events_total", netns="self", event="ListenDrops") == 11
    assert value(metrics, "kernel_events_total", netns="self", event="CurrEstab") is None
    assert value(metrics, "kernel_events_total", netns="self", event="Unknown") is None
    at = labels()
    assert value(metrics, "syn_queue", **at) == 3
    assert value(metrics, "syn_queue_young", **at) == 2
    assert value(metrics, "syn_queue_limit", **at) == 128
    assert value(metrics, "accept_queue", **at) == 7
    assert value(metrics, "listener_drops_total", **at) == 5
    assert value(metrics, "release_time_seconds", **at) == 63


def test_alarms_and_releases_add_up() -> None:
    metrics = Metrics()
    outcome = Released(Release(SELF, Filter(older_than_s=5), "r"), matched=9, released=7, failed=2)
    for _ in range(3):
        metrics.released(outcome)
    metrics.alarm(ALARM)
    metrics.reading(model())
    assert value(metrics, "alarm", netns="self") == 1
    assert value(metrics, "alarms", netns="self", cause="unknown") == 1
    assert value(metrics, "released_total", netns="self") == 21
    assert value(metrics, "release_failures_total", netns="self") == 6
    metrics.alarm(Rising(SELF, None, 9))
    metrics.alarm(CauseChanged(SELF, None, 9, "spoofed-flood", ""))
    assert value(metrics, "alarms", netns="self", cause="spoofed-flood") == 1
    metrics.alarm(replace(ALARM, listener=(2, "0.0.0.0", 80, 0), cause="spoofed-flood"))
    assert value(metrics, "alarms", netns="self", cause="spoofed-flood") == 2
    metrics.alarm(Clear(SELF, (2, "0.0.0.0", 80, 0), 0, 1.0, 9))
    assert value(metrics, "alarm", netns="self") == 1
    metrics.alarm(Clear(SELF, None, 0, 1.0, 9))
    assert value(metrics, "alarm", netns="self") == 0
    assert value(metrics, "alarms", netns="self", cause="spoofed-flood") is None


def test_the_verdict_and_its_findings_are_those_of_status() -> None:
    metrics, one = Metrics(), model()
    off = build(replace(one.sample, settings={**one.sample.settings, "tcp_syncookies": 0}))
    verdict = judge(off)
    assert "cookies-off" in {f.id for f in verdict.findings if f.level}
    metrics.reading(off, verdict)
    worst = int(verdict.level)
    assert worst > 0
    assert value(metrics, "verdict", netns="self") == worst
    assert value(metrics, "finding", netns="self", id="cookies-off") == max(
        f.level for f in verdict.findings if f.id == "cookies-off"
    )
    metrics.reading(off)  # not judged: the verdict before holds
    assert value(metrics, "verdict", netns="self") == worst
    metrics.reading(one, judge(one))
    assert value(metrics, "verdict", netns="self") == int(judge(one).level)
    assert value(metrics, "finding", netns="self", id="cookies-off") is None
    metrics.round([SELF], [SELF])
    assert value(metrics, "verdict", netns="self") is None


def test_what_could_not_be_read_shows_no_old_numbers() -> None:
    metrics = Metrics()
    for name in ("a", "b"):
        metrics.reading(model(netns=name))
    metrics.round([named("a"), named("b")], [named("b")])
    assert (value(metrics, "readable", netns="a"), value(metrics, "readable", netns="b")) == (1, 0)
    assert (value(metrics, "connections", netns="a"), value(metrics, "connections", netns="b")) == (3, None)
    assert value(metrics, "syn_queue", **labels("b")) is None
    assert value(metrics, "last_reading_timestamp_seconds", netns="b") is not None
    metrics.round([named("a")], [])
    assert all(("netns", "a") in key[1] for key in parsed(metrics))


@pytest.mark.parametrize("name", ['a"b\\c\nd', "\udcff bytes", "中文", ""])
def test_any_name_of_a_namespace(name: str) -> None:
    metrics = Metrics()
    metrics.reading(model(netns=name))
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert value(metrics, "connections", netns=shown) == 3


def test_nothing_of_the_connections_themselves_is_kept() -> None:
    metrics, one = Metrics(), model(1000)
    metrics.reading(one)
    kept = metrics._of[SELF].model
    assert kept is not None
    assert kept.sample.parts == ()
    assert all(a.base is None and not len(a) for a in (kept.ages_s, kept.is_deferred, kept.is_doubtful))
    assert value(metrics, "connections", netns="self") == 1000


def test_nothing_read_yet() -> None:
    assert parsed(Metrics()) == {}


def test_an_alarm_and_what_was_released_follow_the_namespace_to_its_new_name() -> None:
    metrics, old = Metrics(), replace(SELF, name="pid:7")
    metrics.reading(build(replace(sample([request()], [listener()]), where=old)))
    metrics.alarm(replace(ALARM, where=old))
    metrics.released(Released(Release(old, Filter(older_than_s=5), "r"), matched=2, released=2))
    new = replace(SELF, name="pid:8")
    metrics.reading(build(replace(sample([request()], [listener()]), where=new)))
    metrics.round([new], [])
    assert value(metrics, "alarm", netns="pid:8") == 1
    assert value(metrics, "released_total", netns="pid:8") == 2
    assert all(("netns", "pid:7") not in key[1] for key in parsed(metrics))


def test_another_namespace_of_the_same_name_begins_anew_and_no_line_is_there_twice() -> None:
    metrics, first, second = Metrics(), Namespace("boot", 1, 1, "web"), Namespace("boot", 1, 2, "web")
    for where in (first, second):
        metrics.reading(build(replace(sample([request()], [listener()]), where=where)))
        if where is first:
            metrics.alarm(replace(ALARM, where=where))
    lines = metrics.text().decode().splitlines()
    assert len(set(lines)) == len(lines)
    assert [line for line in lines if line.startswith("halfopen_alarm{")] == ['halfopen_alarm{netns="web"} 0.0']
    metrics.round([second], [])
    assert list(metrics._of) == [second]


def test_namespaces_that_come_and_go_leave_nothing() -> None:
    metrics = Metrics()
    for inode in range(2000):
        where = Namespace("boot", inode, inode, f"pid:{inode}")
        metrics.alarm(replace(ALARM, where=where))
        metrics.round([where], [])
    assert len(metrics._of) == 1
