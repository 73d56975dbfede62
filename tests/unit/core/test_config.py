"""Settings: whatever the file holds, it is a Watch or one ConfigError that names the file and the key."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halfopen.core import config
from halfopen.core.errors import ConfigError
from halfopen.core.policy.counts import Flow, ListenerCounts
from halfopen.core.policy.detection import Sensitivity, Watcher, step
from halfopen.core.policy.stages import Timing

QUICK = settings(max_examples=200, deadline=None, derandomize=True)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        config.parse(text, "w.toml")
    assert raised.value.exit_code == 2
    return raised.value.line()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("interval = 'soon'", "w.toml: interval: 'soon' is not a duration"),
        ("interval = ''", "w.toml: interval: '' is not a duration"),
        ("interval = 1979-05-27", "w.toml: interval: "),
        ("interval = ['1s']", "w.toml: interval: "),
        ("netns = 3", "w.toml: netns: "),
        ("audit_log = true", "w.toml: audit_log: "),
        ("release = '15s'", "w.toml: release: "),
        ("[[alarm]]\nminimum = 1", "w.toml: alarm: "),
        ("[alarm]\nminimum = true", "w.toml: alarm.minimum: "),
        ("[alarm]\nminimum = 1.5", "w.toml: alarm.minimum: "),
        ("[alarm]\nminimum = 0", "w.toml: alarm: out of range"),
        ("[alarm]\nminimum = -5", "w.toml: alarm: out of range"),
        ("[alarm]\nfactor = 0.99", "w.toml: alarm: out of range"),
        ("[alarm]\nfactor = nan", "w.toml: alarm: out of range"),
        ("[alarm]\nfactor = inf", "w.toml: alarm: out of range"),
        ("[alarm]\nsigmas = nan", "w.toml: alarm: out of range"),
        ("[alarm]\nsigmas = inf", "w.toml: alarm: out of range"),
        ("[alarm]\nsigmas = -0.1", "w.toml: alarm: out of range"),
        ("[alarm]\nwindow = 3601", "w.toml: alarm.window: is not used any more"),
        ("[alarm]\ncalm = 0", "w.toml: alarm.calm: is a time"),
        ("[alarm]\nminimum = 1" + "0" * 400, "w.toml: alarm: out of range"),
        ("[alarm]\ncalm = 1" + "0" * 30, "w.toml: alarm.calm: is a time"),
        ("[alarm]\nminimum = " + "9" * 5000, "w.toml: "),
        ("x = " + "[" * 20_000, "w.toml: "),
        ("[alarm.deeper]\nx = 1", "w.toml: alarm.deeper: unknown key"),
        ("[release]\nolder_then = '1s'", "w.toml: release.older_then: unknown key"),
        ("[release]\nolder_than = 'x'", "w.toml: release.older_than: 'x' is not a duration"),
        ("[release]\nolder_than = '1s'\nlistener = [':http']", "w.toml: release.listener: "),
        ("[release]\nolder_than = '1s'\nsource = ['1.2.3.4', '1.2.3']", "w.toml: release.source: '1.2.3' is not"),
        ("listener = [':http']", "w.toml: listener: "),
        ("source = ['1.2.3']", "w.toml: source: '1.2.3' is not"),
        ("[release]\nsource = [1]", "w.toml: release.source"),
        ("'' = 1", "w.toml: "),
        ("Interval = '1s'", "w.toml: Interval: unknown key"),
        ("interval = '1s'\ninterval = '2s'", "w.toml: "),
        ("\ufeffinterval = '1s'", "w.toml: "),
        ("\0", "w.toml: "),
    ],
    ids=lambda v: ascii(v[:40]),
)
def test_what_settings_cannot_be(text: str, says: str) -> None:
    assert refused(text).startswith(says)


def test_an_unknown_key_is_told_the_known_ones() -> None:
    line = refused("[alarm]\nminimun = 1")
    assert all(name in line for name in ("minimum", "factor", "sigmas", "calm"))


def test_the_defaults_are_those_of_the_alarm_itself() -> None:
    assert config.parse("", "w.toml") == config.WatchSettings()
    assert config.WatchSettings().alarm.sensitivity() == Sensitivity()


def test_every_key() -> None:
    text = """
        interval = "500ms"
        netns = "blue"
        listener = [":443"]
        source = ["203.0.113.0/24"]
        audit_log = "/tmp/a"
        metrics_file = "/tmp/m.prom"
        [alarm]
        minimum = 1
        factor = 1
        sigmas = 0
        calm = "90s"
        [release]
        older_than = "15s"
        listener = [":443", "[2001:db8::1]:443"]
        source = ["203.0.113.0/24"]
    """
    parsed = config.parse(text, "w.toml", {"metrics_file": str})
    assert parsed == config.WatchSettings(
        "500ms",
        "blue",
        "/tmp/a",
        config.AlarmSettings(1, 1.0, 0.0, "90s"),
        config.ReleaseSettings("15s", [":443", "[2001:db8::1]:443"], ["203.0.113.0/24"]),
        [":443"],
        ["203.0.113.0/24"],
        {"metrics_file": "/tmp/m.prom"},
    )
    assert parsed.alarm.sensitivity() == Sensitivity(1, factor=1.0, sigmas=0.0, timing=Timing(clears_s=90))


VALUES = st.sampled_from(
    [
        "1",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "true",
        "''",
        "'1s'",
        "[]",
        "['x']",
        "[1]",
        "{}",
        "{x = 1}",
        "07:32:00",
    ]
)
KEYS = st.sampled_from(
    ["interval", "netns", "audit_log", "alarm", "release", "alarm.minimum", "alarm.factor", "alarm.sigmas"]
)


@QUICK
@given(st.dictionaries(KEYS, VALUES, max_size=4).map(lambda d: "\n".join(f"{k} = {v}" for k, v in d.items())))
@example("")
def test_any_value_under_any_key(text: str) -> None:
    try:
        parsed = config.parse(text, "w.toml")
    except ConfigError as e:
        assert e.line().startswith("w.toml")  # noqa: PT017
        return
    assert isinstance(parsed, config.WatchSettings)
    s = parsed.alarm.sensitivity()
    assert math.isfinite(s.factor)
    assert math.isfinite(s.sigmas)
    state = Watcher()
    for value in (0, 10**6, 0):
        state, judged = step(state, ListenerCounts(value, value), Flow(0.0, 1.0), None, s)
        assert math.isfinite(judged.limit)


@QUICK
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    try:
        assert isinstance(config.parse(text, "w.toml"), config.WatchSettings)
    except ConfigError as e:
        assert e.line().startswith("w.toml")  # noqa: PT017
