"""Settings: whatever the file holds, it is a Watch or one ConfigError that names the file and the key."""

from __future__ import annotations

import ipaddress
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples import examples
from halfopen.core import config
from halfopen.core.errors import ConfigError
from halfopen.core.policy.counts import Flow, ListenerCounts
from halfopen.core.policy.detection import Sensitivity, Watcher, step
from halfopen.core.policy.stages import Timing
from halfopen.core.sections.alarm import AlarmSettings
from halfopen.core.sections.release import ByAgeSettings

QUICK = examples(200)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        config.parse(text, "w.toml", {"metrics_file": str})
    assert raised.value.exit_code == 2
    return raised.value.line()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("interval = 'soon'", "w.toml:1: interval: 'soon' is not a duration"),
        ("interval = ''", "w.toml:1: interval: '' is not a duration"),
        ("\ninterval = 1", 'w.toml:2: interval: 1 has no unit; write "1s" for seconds'),
        ("interval = '1'", 'w.toml:1: interval: "1" has no unit; write "1s" for seconds'),
        ("interval = '10ms'", 'w.toml:1: interval: "10ms" is out of range; give 50ms to 1h'),
        ("[protect]\nwhen = 'always'", "w.toml:1: protect.listeners: names no listener"),
        ("[protect]\nlisteners = [':443']\nmode = 'arm'", 'w.toml:3: protect.mode: "arm" is not known'),
        ("[protect]\nlisteners = ['443x']", "w.toml:2: protect.listeners"),
        ("[protect]\nlisteners = [':443']\nat = 25", 'w.toml:3: protect.at: 25 is not a percentage; write it as "25%"'),
        ("interval = 1979-05-27", "w.toml:1: interval: "),
        ("interval = ['1s']", "w.toml:1: interval: "),
        ("netns = 3", "w.toml:1: netns: "),
        ("audit_log = true", "w.toml:1: audit_log: "),
        ("release = '15s'", "w.toml:1: release: is not a list; write [[release]] above the keys of each"),
        ("\n\n[[alarm]]\nminimum = 1", "w.toml:3: alarm: is not a table; write [alarm] above its keys"),
        ("[alarm]\nminimum = true", "w.toml:2: alarm.minimum: true is not a whole number"),
        ("[alarm]\nminimum = 1.5", "w.toml:2: alarm.minimum: "),
        ("[alarm]\nminimum = 0", "w.toml:2: alarm.minimum: out of range"),
        ("[alarm]\nminimum = -5", "w.toml:2: alarm.minimum: out of range"),
        ("alarm.factor = 0.99", "w.toml:1: alarm.factor: out of range"),
        ("[alarm]\nfactor = nan", "w.toml:2: alarm.factor: out of range"),
        ("[alarm]\nfactor = inf", "w.toml:2: alarm.factor: out of range"),
        ("[alarm]\nsigmas = nan", "w.toml:2: alarm.sigmas: out of range"),
        ("[alarm]\nsigmas = -0.1", "w.toml:2: alarm.sigmas: out of range"),
        ("[alarm]\nwindow = 3601", "w.toml:2: alarm.window: unknown key; window is not used any more"),
        ("[alarm]\ncalm = 10", 'w.toml:2: alarm.calm: 10 has no unit; write "10s"'),
        ("[alarm]\nminimum = 1" + "0" * 400, "w.toml:2: alarm.minimum: out of range"),
        ("[alarm]\ncalm = 1" + "0" * 30, "w.toml:2: alarm.calm: "),
        ("[alarm]\nminimum = " + "9" * 5000, "w.toml: holds a number of too many digits"),
        ("x = " + "[" * 20_000, "w.toml: is nested too deeply"),
        ("max_cpu = -1", 'w.toml:1: max_cpu: -1 is not a percentage; write it as "80%"'),
        ("[alarm.deeper]\nx = 1", "w.toml:1: alarm.deeper: unknown key"),
        ("[release]\nolder_then = '1s'", 'w.toml:2: release.older_then: unknown key; did you mean "older_than"?'),
        ("[release]\nolder_than = 'x'", "w.toml:2: release.older_than: 'x' is not a duration"),
        ("[release]\nolder_than = '0s'", "w.toml:2: release.older_than: would release every handshake"),
        ("[release]\nolder_than = '1s'\nlistener = [':http']", "w.toml:3: release.listener[1]: "),
        ("[release]\nsource = [\n'1.2.3.4',\n'1.2.3']", "w.toml:4: release.source[2]: '1.2.3' is not"),
        ("listener = ':80'", "w.toml:1: listener: is not a list"),
        ("listener = [':http']", "w.toml:1: listener[1]: "),
        ("source = ['1.2.3']", "w.toml:1: source[1]: '1.2.3' is not"),
        ("[release]\nsource = [1]", "w.toml:2: release.source[1]: 1 is not a text"),
        ("[metrics]\nfiel = 'x'", 'w.toml:2: metrics.fiel: unknown key; did you mean "file"?'),
        ("metrics_file = 'x'\n[metrics]\nfile = 'x'", "w.toml:3: metrics.file: is given twice, also as metrics_file"),
        ("metrics_file = 1", "w.toml:1: metrics_file: is not a text"),
        ("[metric]\nfile = 'x'", 'w.toml:1: metric: unknown key; did you mean "metrics"?'),
        ("'' = 1", "w.toml:1: "),
        ("Interval = '1s'", 'w.toml:1: Interval: unknown key; did you mean "interval"?'),
        ("interval = '1s'\ninterval = '2s'\n", "w.toml:2: Cannot overwrite a value"),
        ("[release]\nmode = 'act'", "w.toml:2: release.mode: is a key of a policy; write [[release]]"),
        ("[[release]]\nmode = 'act'", "w.toml:1: release[1]: lacks name"),
        ("[[release]]\nname = 'A b'", "w.toml:2: release[1].name: is not a name"),
        ("[[release]]\nname = 'a'", "w.toml:1: release[1]: needs older_than or retransmits"),
        (
            "[[release]]\nname = 'a'\nolder_than = '3s'\n[[release]]\nname = 'a'\nretransmits = 1",
            'w.toml:5: release[2].name: "a" is the name of another policy too',
        ),
        (
            "[[release]]\nname = 'a'\nmode = 'acts'",
            'w.toml:3: release[1].mode: "acts" is not known; did you mean "act"?',
        ),
        ("[[release]]\nname = 'a'\nolder_than = '500ms'", 'w.toml:3: release[1].older_than: "500ms" is out of range'),
        ("[[release]]\nname = 'a'\nretransmits = 0", "w.toml:3: release[1].retransmits: out of range; give 1 to 255"),
        (
            "[[release]]\nname = 'a'\ncauses = ['acks-lost']",
            'w.toml:3: release[1].causes[1]: "acks-lost" forbids a release',
        ),
        ("[[release]]\nname = 'a'\ncauses = ['spoofed-flod']", 'w.toml:3: release[1].causes[1]: "spoofed-flod" is not'),
        ("[[release]]\nname = 'a'\nfuller_than = 0.8", "w.toml:3: release[1].fuller_than: 0.8 is not a percentage"),
        (
            "[[release]]\nname = 'a'\nbudget = 500",
            'w.toml:3: release[1].budget: 500 is not a rate; write it as "500/s"',
        ),
        ("[never]\nlisteners = ['ssh']", "w.toml:2: never.listeners[1]: 'ssh' is not a port"),
        ("\0", "w.toml:1: "),
    ],
    ids=lambda v: ascii(v[:40]),
)
def test_what_settings_cannot_be(text: str, says: str) -> None:
    assert refused(text).startswith(says)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert config.parse("\ufeff[alarm]\r\nminimum = 7\r\n", "w.toml").alarm.minimum == 7
    assert refused("\ufeff\nfoo = 1").startswith("w.toml:2: foo: unknown key")


def test_an_unknown_key_is_told_the_known_ones() -> None:
    line = refused("[alarm]\nminimun = 1")
    assert 'did you mean "minimum"?' in line
    assert all(name in line for name in ("minimum", "factor", "sigmas", "calm"))


def test_the_defaults_are_those_of_the_alarm_itself() -> None:
    assert config.parse("", "w.toml") == config.WatchSettings()
    assert config.WatchSettings().alarm.sensitivity() == Sensitivity()


def test_every_key() -> None:
    text = """
        interval = "500ms"
        max_cpu = "2%"
        netns = "blue"
        listener = [":443"]
        source = ["203.0.113.0/24"]
        audit_log = "/tmp/a"
        metrics_file = "/tmp/m.prom"
        [alarm]
        minimum = 1
        factor = 1
        sigmas = 0
        calm = "1m30s"
        [release]
        older_than = "15s"
        listener = [":443", "[2001:db8::1]:443"]
        source = ["203.0.113.0/24"]
    """
    parsed = config.parse(text, "w.toml", {"metrics_file": str})
    net, web = ipaddress.ip_network("203.0.113.0/24"), (None, 443)
    assert parsed == config.WatchSettings(
        0.5,
        0.02,
        "blue",
        "/tmp/a",
        (web,),
        (net,),
        AlarmSettings(1, 1.0, 0.0, 90.0),
        by_age=ByAgeSettings(15.0, (web, (ipaddress.ip_address("2001:db8::1"), 443)), (net,)),
        sinks={"metrics_file": "/tmp/m.prom"},
    )
    assert parsed.alarm.sensitivity() == Sensitivity(1, factor=1.0, sigmas=0.0, timing=Timing(clears_s=90))
    shown = [f"{title or '[]'} {line}" for title, lines in config.set_by(parsed) for line in lines]
    assert shown == [
        '[] interval = "500ms"',
        '[] max_cpu = "2%"',
        '[] netns = "blue"',
        '[] audit_log = "/tmp/a"',
        '[] listener = [":443"]',
        '[] source = ["203.0.113.0/24"]',
        "[alarm] minimum = 1",
        "[alarm] factor = 1",
        "[alarm] sigmas = 0",
        '[alarm] calm = "1m30s"',
        '[release] older_than = "15s"',
        '[release] listener = [":443", "[2001:db8::1]:443"]',
        '[release] source = ["203.0.113.0/24"]',
        '[metrics] file = "/tmp/m.prom"',
    ]


def test_what_a_reload_leaves_as_it_was_is_named() -> None:
    old = config.parse('netns = "a"\nmetrics_file = "/a"\ninterval = "1s"', "w.toml", {"metrics_file": str})
    new = config.parse('netns = "b"\nmetrics_file = "/b"\ninterval = "2s"', "w.toml", {"metrics_file": str})
    assert config.kept_until_restart(old, new) == ["netns", "metrics_file"]
    assert config.kept_until_restart(old, old) == []


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
