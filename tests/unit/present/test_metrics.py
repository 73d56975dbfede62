"""Metrics: what a watch reported, as Prometheus reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from halfopen.core.fields.counters import COUNTERS
from halfopen.core.fields.field import Field, Kind
from halfopen.core.fields.metrics import BY, LISTENER_METRICS, NAMESPACE_METRICS, WATCH_METRICS
from halfopen.core.fields.watched import Watching
from halfopen.core.filters import Filter
from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.evidence import Need
from halfopen.core.findings.verdict import judge
from halfopen.core.model.handshake_times import LE_S, HandshakeTimes
from halfopen.core.model.model import Model, build
from halfopen.core.notice import ReceiverStanding
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Rising
from halfopen.core.sample.closing import SocketCounts
from halfopen.core.sample.guard import FoundGuard, GuardCounts, Guards
from halfopen.core.tune.keys import SAMPLED
from halfopen.core.where import Namespace
from halfopen.present import metrics as metrics_
from halfopen.present.metrics import NAMESPACES_MOST, Metrics
from rows import SELF, listener, named, request, sample

ALARM = Alarm(SELF, None, 9, 9, 9, 1.0, 5.0, "unanswered")


def parsed(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) → value; each must be there once."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(metrics.text().whole.decode()):
        for one in family.samples:
            key = (one.name, frozenset(one.labels.items()))
            assert key not in found
            found[key] = one.value
    return found


def namespaces(metrics: Metrics) -> set[str]:
    return {value for _, labels in parsed(metrics) for label, value in labels if label == "netns"}


def value(metrics: Metrics, metric: str, /, **labels: str) -> float | None:
    return parsed(metrics).get((f"halfopen_{metric}", frozenset(labels.items())))


def labels(netns: str = "self", **more: str) -> Mapping[str, str]:
    return {"netns": netns, "family": "ipv4", "address": "0.0.0.0", "port": "8080", "ifindex": "0", **more}


def model(n: int = 3, netns: str = "self", **values: int) -> Model:
    rows = [request(source_port=1024 + i, retransmits=i % 2, cookie=i + 1) for i in range(n)]
    one = sample(rows, [listener(accept_queue=7, limit=128, drops=5, **values)])
    return build(replace(one, where=named(netns), counters={"ListenDrops": 11, "CurrEstab": 4, "Unknown": 1}))


WATCHING = Watching("1.2", "6.1", began=5.0, interval_s=1.0, cpu_s=0.5, memory_bytes=7)
SERVICE = replace(
    WATCHING,
    spacing_s=1.0,
    reading_cpu_s=0.001,
    face_memory_bytes=8,
    face_cpu_s=0.1,
    face_restarts=0,
    dropped=0,
    receivers=(ReceiverStanding("chat", "apprise", 3, 2, 1, 4, "answered 500"),),
)


def test_every_metric_of_the_registry_is_there_once_and_as_it_says() -> None:
    metrics, one = Metrics(SERVICE), model()
    everything = {key.rpartition(".")[2]: 1 for key in SAMPLED} | {"tcp_syncookies": 0}
    counted = dict.fromkeys(COUNTERS, 3)
    armed = FoundGuard(7, 1, (1,), (3,), 0.0, True, 0.25, GuardCounts())
    one = build(replace(one.sample, settings=everything, counters=counted).with_part(Guards((armed,))))
    one = replace(one, sample=one.sample.with_part(SocketCounts((1,) * 16)))
    metrics.reading(one, judge(one))
    metrics.handshakes({one.sample.where.inode: HandshakeTimes()})
    metrics.alarm(ALARM)
    families = {f.name: f for f in text_string_to_metric_families(metrics.text().whole.decode())}
    registry: tuple[Field[Any], ...] = (*WATCH_METRICS, *NAMESPACE_METRICS, *LISTENER_METRICS)
    assert len(families) == len(registry)
    for field in registry:
        family = families[f"halfopen_{field.name}"]
        assert (family.type, family.documentation) == (field.kind.value, field.plain_help)
        assert family.samples, field.name
        assert all(one.name.endswith("_total") for one in family.samples) == (field.kind is Kind.COUNTER)


def test_names_follow_prometheus() -> None:
    """https://prometheus.io/docs/practices/naming, and what `promtool check metrics` looks at."""
    fields: tuple[Field[Any], ...] = (*WATCH_METRICS, *NAMESPACE_METRICS, *LISTENER_METRICS)
    names = [field.name for field in fields]
    assert len(set(names)) == len(names)
    for field in fields:
        assert re.fullmatch("[a-z][a-z0-9_]*", field.name)
        assert (field.unit == "s") == field.name.endswith("_seconds"), field.name
        assert not field.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_s", "_gauge", "_counter"))
        assert field.name.endswith("_info") == ("1; labels" in field.help)
        for label in BY.get(field.name, ()):
            assert f"`{label}`" in field.help
    assert set(BY) <= set(names)


def test_a_counter_and_a_setting_are_a_metric_each() -> None:
    names = [field.name for field in NAMESPACE_METRICS]
    for key in SAMPLED:
        word = key.rpartition(".")[2].removesuffix("_ms")
        assert any(name in (f"setting_{word}", f"setting_{word}_seconds") for name in names)
    assert sum(name.startswith("kernel_") for name in names) == len(COUNTERS) - 1


def test_a_setting_in_milliseconds_is_shown_in_seconds() -> None:
    metrics, one = Metrics(), model()
    metrics.reading(build(replace(one.sample, settings={**one.sample.settings, "tcp_rto_max_ms": 120_000})))
    assert value(metrics, "setting_tcp_rto_max_seconds", netns="self") == 120


def test_the_causes_of_alarms_are_a_state_set() -> None:
    """Every cause is there, so that none appears out of nowhere; those on are 1."""
    metrics = Metrics()
    metrics.reading(model())
    metrics.alarm(replace(ALARM, cause="spoofed-flood"))
    metrics.alarm(replace(ALARM, listener=(2, "0.0.0.0", 80, 0), cause="spoofed-flood"))
    there = {
        dict(labels)["cause"]: state
        for (name, labels), state in parsed(metrics).items()
        if name.endswith("alarm_cause")
    }
    asked = {rule.id for rule in RULES.values() if not rule.note and Need.MEMORY not in rule.needs}
    assert set(there) == asked | {"unknown"}
    assert {cause for cause, state in there.items() if state} == {"spoofed-flood"}
    assert set(there.values()) == {0, 1}


def test_what_the_watch_itself_costs() -> None:
    metrics = Metrics(WATCHING)
    metrics.reading(model(), seconds=0.25)
    metrics.reading(model(), seconds=0.5)
    assert value(metrics, "reading_duration_seconds_count", netns="self") == 2
    assert value(metrics, "reading_duration_seconds_sum", netns="self") == 0.75
    assert value(metrics, "cpu_seconds_total") == 0.5
    assert value(metrics, "resident_memory_bytes") == 7
    assert value(metrics, "build_info", version="1.2", kernel="6.1") == 1


def test_handshake_times_are_a_classic_histogram() -> None:
    metrics = Metrics()
    metrics.reading(model())
    assert value(metrics, "handshake_duration_seconds_count", netns="self") is None, "not counted"
    below = tuple(min(i, 4) for i in range(len(LE_S)))
    metrics.handshakes({SELF.inode: HandshakeTimes(below, 6, 12.5), SELF.inode + 1: HandshakeTimes()})
    assert value(metrics, "handshake_duration_seconds_count", netns="self") == 6
    assert value(metrics, "handshake_duration_seconds_sum", netns="self") == 12.5
    assert value(metrics, "handshake_duration_seconds_bucket", netns="self", le="63.0") == 4
    assert value(metrics, "handshake_duration_seconds_bucket", netns="self", le="+Inf") == 6
    [family] = [f for f in text_string_to_metric_families(metrics.text().whole.decode()) if f.type == "histogram"]
    edges = [float(one.labels["le"]) for one in family.samples if one.name.endswith("_bucket")]
    assert edges == [*LE_S, float("inf")]
    metrics.handshakes({})
    assert value(metrics, "handshake_duration_seconds_count", netns="self") is None


def test_however_many_listeners_there_are_the_lines_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100  # as many as there may be would take seconds to parse
    assert most < metrics_.LISTENERS_MOST
    monkeypatch.setattr(metrics_, "LISTENERS_MOST", most)
    metrics = Metrics()
    for name, n in (("many", most + 500), ("few", 10)):
        rows = [listener(port=1 + i, inode=i + 1, accept_queue=int(i == n - 1)) for i in range(n)]
        metrics.reading(build(replace(sample([], rows), where=named(name))))
    found = parsed(metrics)
    shown = [dict(labels) for (name, labels) in found if name == "halfopen_listener_sockets"]
    assert len(shown) == most
    assert sum(one["netns"] == "few" for one in shown) == 10, "a small namespace does not suffer from a large one"
    assert any(one["port"] == str(most + 500) for one in shown), "the fullest are shown"
    assert value(metrics, "listeners_left_out") == 510


def test_however_many_namespaces_there_are_the_lines_have_a_limit() -> None:
    metrics = Metrics()
    names = [Namespace("boot", inode, inode, f"pid:{inode}") for inode in range(NAMESPACES_MOST + 30)]
    metrics.round(names, [])
    metrics.alarm(replace(ALARM, where=names[-1]))
    found = parsed(metrics)
    shown = {dict(labels)["netns"] for (name, labels) in found if name == "halfopen_readable"}
    assert len(shown) == NAMESPACES_MOST
    assert names[-1].name in shown, "one with an alarm is shown"
    assert found["halfopen_namespaces", frozenset()] == NAMESPACES_MOST + 30
    assert found["halfopen_namespaces_left_out", frozenset()] == 30


def test_only_what_changed_is_written_anew_and_nothing_of_it_is_lost() -> None:
    """After many reports the text is as if the last one had been the only one, but for what counts reports."""
    kept, fresh = Metrics(), Metrics()
    for n in (1, 3, 2):
        kept.reading(model(n))
        kept.text()
        kept.alarm(ALARM)
        kept.text()
        kept.alarm(Clear(SELF, None, 0, 1.0, 9))
    for metrics in (kept, fresh):
        metrics.reading(model(2, netns="b"))
        metrics.reading(model(7))
    counts = ("reading_duration_seconds_count", "alarms_raised_total")
    now, as_if = parsed(kept), parsed(fresh)
    differ = [key for key, number in as_if.items() if now[key] != number]
    assert {name for name, _ in differ} == {f"halfopen_{name}" for name in counts}
    assert set(now) == set(as_if)


def test_values() -> None:
    metrics = Metrics()
    metrics.reading(model())
    assert value(metrics, "connections", netns="self") == 3
    assert value(metrics, "setting_tcp_syncookies", netns="self") == 1
    assert value(metrics, "kernel_listen_drops_total", netns="self") == 11
    assert value(metrics, "kernel_listen_overflows_total", netns="self") is None, "not read"
    at = labels()
    assert value(metrics, "syn_queue_requests", **at) == 3
    assert value(metrics, "syn_queue_young_requests", **at) == 2
    assert value(metrics, "syn_queue_limit_requests", **at) == 128
    assert value(metrics, "accept_queue_connections", **at) == 7
    assert value(metrics, "listener_drops_total", **at) == 5
    assert value(metrics, "listener_release_time_seconds", **at) == 63


def test_alarms_and_releases_add_up() -> None:
    metrics = Metrics()
    outcome = Released(Release(SELF, Filter(older_than_s=5), "r"), matched=9, released=7, failed=2)
    for _ in range(3):
        metrics.released(outcome)
    metrics.alarm(ALARM)
    metrics.reading(model())
    assert value(metrics, "alarms", netns="self") == 1
    assert value(metrics, "alarm_cause", netns="self", cause="unknown") == 1
    assert value(metrics, "released_connections_total", netns="self") == 21
    assert value(metrics, "release_failures_total", netns="self") == 6
    metrics.alarm(Rising(SELF, None, 9))
    metrics.alarm(CauseChanged(SELF, None, 9, "spoofed-flood", ""))
    assert value(metrics, "alarm_cause", netns="self", cause="spoofed-flood") == 1
    assert value(metrics, "alarm_cause", netns="self", cause="unknown") == 0
    metrics.alarm(replace(ALARM, listener=(2, "0.0.0.0", 80, 0), cause="spoofed-flood"))
    assert value(metrics, "alarms", netns="self") == 2
    metrics.alarm(Clear(SELF, (2, "0.0.0.0", 80, 0), 0, 1.0, 9))
    assert value(metrics, "alarms", netns="self") == 1
    metrics.alarm(Clear(SELF, None, 0, 1.0, 9))
    assert value(metrics, "alarms", netns="self") == 0
    assert value(metrics, "alarm_cause", netns="self", cause="spoofed-flood") == 0
    assert value(metrics, "alarms_raised_total", netns="self") == 2


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
    assert value(metrics, "syn_queue_requests", **labels("b")) is None
    assert value(metrics, "last_reading_timestamp_seconds", netns="b") is not None
    metrics.round([named("a")], [])
    assert namespaces(metrics) == {"a"}


@pytest.mark.parametrize("name", ['a"b\\c\nd', "\udcff bytes", "中文", ""])
def test_any_name_of_a_namespace(name: str) -> None:
    metrics = Metrics()
    metrics.reading(model(netns=name))
    shown = name.encode("utf-8", "backslashreplace").decode()
    assert value(metrics, "connections", netns=shown) == 3


def test_a_name_that_a_terminal_would_obey_is_escaped_as_every_parser_takes_it() -> None:
    metrics = Metrics()
    metrics.reading(model(netns="\udcff\x1b[31m\x9b\u202e"))
    text = metrics.text().whole.decode()
    assert text.replace("\n", "").isprintable()
    # The format has three escapes, and node_exporter refuses a text with another one.
    assert set(re.findall(r"\\.", text)) <= {r"\\", r"\n", r"\""}
    assert value(metrics, "connections", netns=r"\udcff\x1b[31m\x9b\u202e") == 3


def test_nothing_of_the_connections_themselves_is_kept() -> None:
    metrics, one = Metrics(), model(1000)
    metrics.reading(one)
    kept = metrics._of[SELF].model
    assert kept is not None
    assert kept.sample.parts == ()
    assert all(a.base is None and not len(a) for a in (kept.ages_s, kept.is_deferred, kept.is_doubtful))
    assert value(metrics, "connections", netns="self") == 1000


def test_nothing_read_yet() -> None:
    assert namespaces(Metrics()) == set()
    assert value(Metrics(), "namespaces") == 0


def test_an_alarm_and_what_was_released_follow_the_namespace_to_its_new_name() -> None:
    metrics, old = Metrics(), replace(SELF, name="pid:7")
    metrics.reading(build(replace(sample([request()], [listener()]), where=old)))
    metrics.alarm(replace(ALARM, where=old))
    metrics.released(Released(Release(old, Filter(older_than_s=5), "r"), matched=2, released=2))
    new = replace(SELF, name="pid:8")
    metrics.reading(build(replace(sample([request()], [listener()]), where=new)))
    metrics.round([new], [])
    assert value(metrics, "alarms", netns="pid:8") == 1
    assert value(metrics, "released_connections_total", netns="pid:8") == 2
    assert namespaces(metrics) == {"pid:8"}


def test_another_namespace_of_the_same_name_begins_anew_and_no_line_is_there_twice() -> None:
    metrics, first, second = Metrics(), Namespace("boot", 1, 1, "web"), Namespace("boot", 1, 2, "web")
    for where in (first, second):
        metrics.reading(build(replace(sample([request()], [listener()]), where=where)))
        if where is first:
            metrics.alarm(replace(ALARM, where=where))
    lines = metrics.text().whole.decode().splitlines()
    assert len({line.rpartition(" ")[0] for line in lines}) == len(lines)
    assert [line for line in lines if line.startswith("halfopen_alarms{")] == ['halfopen_alarms{netns="web"} 0.0']
    metrics.round([second], [])
    assert list(metrics._of) == [second]


def test_namespaces_that_come_and_go_leave_nothing() -> None:
    metrics = Metrics()
    for inode in range(2000):
        where = Namespace("boot", inode, inode, f"pid:{inode}")
        metrics.alarm(replace(ALARM, where=where))
        metrics.round([where], [])
    assert len(metrics._of) == 1


def test_connections_are_counted_by_state_where_there_are_many() -> None:
    metrics = Metrics()
    metrics.reading(model())
    assert value(metrics, "sockets", netns="self", state="close_wait") is None
    now = model()
    counts = SocketCounts((0, 70, 0, 0, 0, 2, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0), 2)
    metrics.reading(replace(now, sample=now.sample.with_part(counts)))
    assert value(metrics, "sockets", netns="self", state="close_wait") == 9
    assert value(metrics, "sockets", netns="self", state="established") == 70
