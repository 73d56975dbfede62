"""Alarm, release and their end, as transcripts; and the settings they follow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfopen.core import config
from halfopen.core.errors import ConfigError
from halfopen.core.filters import Filter
from halfopen.core.model.model import build
from halfopen.core.policy import anomaly
from halfopen.core.policy.actions import Release, Released
from halfopen.core.policy.events import Seen
from halfopen.core.policy.policy import GIVE_UP_AFTER, Action, Alarm, Clear, Policy, State, step
from halfopen.present import watchlines
from rows import SELF, listener, named, request, sample


def transcript(values: list[int], s: anomaly.Sensitivity | None = None) -> list[str]:
    state, said = anomaly.Watcher(), []
    for i, value in enumerate(values):
        state, judged = anomaly.step(state, value, s or anomaly.Sensitivity())
        said += [f"{i} begins"] * judged.begins + [f"{i} ends"] * judged.ends
    return said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0] * 20, []),
        ([49] * 20, []),
        ([60, 60], ["0 begins"]),  # high at first sight
        ([0, 0, 500, 500, 0, 0, 0], ["2 begins", "6 ends"]),
        ([0, 500, 0, 500, 0, 0, 0], ["1 begins", "6 ends"]),  # not calm for long enough
        ([40] * 10 + [100] * 3, []),  # less than three times the usual
        ([40] * 10 + [130], ["10 begins"]),
        ([0, 500] + [400] * 50, ["1 begins"]),  # the alarm does not become the usual
    ],
)
def test_alarms(values: list[int], said: list[str]) -> None:
    assert transcript(values) == said


def test_what_swings_anyway_does_not_alarm() -> None:
    assert transcript([10, 200, 15, 190, 20, 210, 12, 205] * 3, anomaly.Sensitivity(minimum=300)) == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 10**7), max_size=80))
def test_an_alarm_begins_before_it_ends_and_never_twice(values: list[int]) -> None:
    words = [w.split()[1] for w in transcript(values)]
    assert words == [("begins", "ends")[i % 2] for i in range(len(words))]


def run(policy: Policy, *events: Seen | Released) -> list[tuple[Action, ...]]:
    state, done = State(), []
    for event in events:
        state, actions = step(state, event, policy)
        done.append(actions)
    return done


def seen(n: int, at_s: float, matching: int = 0, netns: str = "self") -> Seen:
    return Seen(named(netns), at_s, n, matching=matching)


def test_alarm_and_clear_with_how_long_and_how_high() -> None:
    found = run(Policy(), seen(0, 0), seen(700, 1), seen(900, 2), seen(0, 3), seen(0, 4), seen(0, 5))
    assert found[1] == (Alarm(SELF, 700, 0, 50),)
    assert found[5] == (Clear(SELF, 0, 4, 900),)
    assert [len(f) for f in found] == [0, 1, 0, 0, 0, 1]


def test_namespaces_are_judged_apart() -> None:
    found = run(Policy(), seen(700, 0, netns="a"), seen(10, 0, netns="b"))
    assert [len(f) for f in found] == [1, 0]


def test_releases_only_what_matches_and_only_when_told() -> None:
    assert run(Policy(), seen(10, 0, matching=5)) == [()]
    policy = Policy(release=Filter(older_than_s=15))
    assert run(policy, seen(10, 0, matching=0)) == [()]
    [(action,)] = run(policy, seen(10, 0, matching=5))
    assert isinstance(action, Release)
    assert action.filter.older_than_s == 15
    assert "older than 15 s" in action.reason


def test_gives_up_on_what_never_works_until_it_does() -> None:
    policy = Policy(release=Filter(older_than_s=15))
    action = Release(SELF, Filter(older_than_s=15), "")
    failed, worked = Released(action, matched=5, failed=5), Released(action, matched=5, released=5)
    events: list[Seen | Released] = [seen(10, 0, 5), failed] * GIVE_UP_AFTER + [seen(10, 0, 5)]
    assert run(policy, *events)[-1] == ()
    events = [seen(10, 0, 5), failed, seen(10, 0, 5), worked] * GIVE_UP_AFTER + [seen(10, 0, 5)]
    assert len(run(policy, *events)[-1]) == 1


def test_settings() -> None:
    parsed = config.parse('interval = "2s"\n[alarm]\nminimum = 10\n[release]\nolder_than = "15s"\n', "w.toml")
    assert (parsed.interval, parsed.alarm.minimum, parsed.alarm.factor, parsed.release.older_than) == (
        "2s",
        10,
        3.0,
        "15s",
    )
    assert parsed.alarm.sensitivity() == anomaly.Sensitivity(minimum=10)
    assert config.parse("", "w.toml") == config.WatchSettings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("intervall = '1s'", "w.toml: intervall: unknown key"),
        ("[alarm]\nminimun = 1", "w.toml: alarm.minimun: unknown key"),
        ("[alarm]\nminimum = 'x'", "w.toml: alarm.minimum: "),
        ("interval = 1", "w.toml: interval: "),
        ("alarm = 3", "w.toml: alarm: "),
        ("[release]\nlistener = ':80'", "w.toml: release.listener: "),
        ("[alarm]\nwindow = 0", "w.toml: alarm: out of range"),
        ("= 1", "w.toml: "),
    ],
)
def test_what_settings_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config.parse(text, "w.toml")
    assert raised.value.line().startswith(says)
    assert raised.value.exit_code == 2


def test_lines_for_a_person_and_for_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    model = build(sample([request()], [listener()]))
    quiet, coloured = watchlines.TextLines(False), watchlines.TextLines(True)
    assert len(quiet.reading(model)) == 1
    assert quiet.reading(model) == []
    assert len(watchlines.TextLines(False, every=True).reading(model)) == 1
    alarm = Alarm(SELF, 700, 3, 50)
    assert "\x1b[" not in "".join(quiet.alarm(model, alarm))
    assert "\x1b[" in coloured.alarm(model, alarm)[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in "".join(coloured.alarm(model, alarm))
    writer = watchlines.JsonLines()
    outcome = Released(Release(SELF, Filter(), ""), matched=1, released=1)
    for lines in (writer.reading(model), writer.alarm(model, alarm), writer.released(outcome), writer.end(3)):
        assert [json.loads(line)["schema"] for line in lines] == ["halfopen.watch/1"]
