"""Releases as transcripts, the settings of a watch, and its lines."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from halfopen.core import config
from halfopen.core.filters import Filter
from halfopen.core.findings.verdict import judge
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Release, Released, Withheld, Withholding
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising
from halfopen.core.policy.detection import Sensitivity
from halfopen.core.policy.events import Seen
from halfopen.core.policy.policy import GIVE_UP_AFTER, Action, Policy, State, step
from halfopen.core.policy.release_policy import by_filter
from halfopen.core.policy.stages import Timing
from halfopen.present import watchlines
from halfopen.present.watchjson import JsonLines
from rows import SELF, listener, request, sample


def run(policy: Policy, *events: Seen | Released) -> list[tuple[Action, ...]]:
    state, done = State(), []
    for event in events:
        state, actions = step(state, event, policy)
        done.append(actions)
    return done


def seen(n: int, at_s: float, matching: int = 0) -> Seen:
    return Seen(SELF, at_s, n, matching={Release(SELF, Filter(older_than_s=15), ""): matching})


def test_releases_only_what_matches_and_only_when_told() -> None:
    assert run(Policy(), seen(10, 0, matching=5)) == [()]
    policy = Policy(releases=(by_filter(Filter(older_than_s=15)),))
    assert run(policy, seen(10, 0, matching=0)) == [()]
    [(action,)] = run(policy, seen(10, 0, matching=5))
    assert isinstance(action, Release)
    assert action.filter.older_than_s == 15
    assert "older than 15 s" in action.reason


def test_gives_up_on_what_never_works_until_it_does() -> None:
    policy = Policy(releases=(by_filter(Filter(older_than_s=15)),))
    action = Release(SELF, Filter(older_than_s=15), "")
    failed, worked = Released(action, matched=5, failed=5), Released(action, matched=5, released=5)
    events: list[Seen | Released] = [seen(10, 0, 5), failed] * GIVE_UP_AFTER + [seen(10, 0, 5)]
    assert run(policy, *events)[-1] == ()
    events = [seen(10, 0, 5), failed, seen(10, 0, 5), worked] * GIVE_UP_AFTER + [seen(10, 0, 5)]
    assert len(run(policy, *events)[-1]) == 1


def test_settings() -> None:
    parsed = config.parse('interval = "2s"\n[alarm]\nminimum = 10\n[release]\nolder_than = "15s"\n', "w.toml")
    assert (parsed.interval_s, parsed.alarm.minimum, parsed.alarm.factor, parsed.by_age.older_than_s) == (2, 10, 3, 15)
    assert parsed.alarm.sensitivity() == Sensitivity(minimum=10)
    assert config.parse('[alarm]\ncalm = "1m"', "w.toml").alarm.sensitivity().timing == Timing(clears_s=60)
    assert config.parse("", "w.toml") == config.WatchSettings()


def test_lines_for_a_person_and_for_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    model = build(sample([request()], [listener()]))
    quiet, coloured = watchlines.TextLines(False), watchlines.TextLines(True)
    assert len(quiet.reading(model)) == 1
    assert quiet.reading(model) == []
    assert len(watchlines.TextLines(False, every=True).reading(model)) == 1
    alarm = Alarm(SELF, (2, "0.0.0.0", 8080, 0), 700, 650, 900, 3, 50, "unanswered", "spoofed-flood")
    for action in (
        alarm,
        Rising(SELF, alarm.listener, 9),
        Passed(SELF, alarm.listener, 9, 3.0),
        CauseChanged(SELF, None, 9, "few-sources-flood", "cannot-tell"),
        Clear(SELF, None, 0, 4.0, 9),
    ):
        assert "\x1b[" not in "".join(quiet.told(model, action, judge(model)))
    head = quiet.alarm(model, alarm, judge(model))[0]
    assert head.endswith("ALARM  :8080  650 of 900 arrivals unanswered, usually 3 (alarm at 50)")
    full = replace(alarm, because="accept-queue-full", unanswered=0)
    assert quiet.alarm(model, full, None) == [head.partition("650 of")[0] + "the accept queue is full"]
    assert "\x1b[" in coloured.alarm(model, alarm, None)[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in "".join(coloured.alarm(model, alarm, None))
    writer = JsonLines()
    outcome = Released(Release(SELF, Filter(), ""), matched=1, released=1)
    for lines in (writer.reading(model), writer.told(model, alarm, None), writer.released(outcome), writer.end(3)):
        assert [json.loads(line)["schema"] for line in lines] == ["halfopen.watch/1"]
    [line] = writer.told(model, alarm, judge(model))
    said = json.loads(line)
    assert (said["family"], said["address"], said["port"], said["cause"]) == ("ipv4", "0.0.0.0", 8080, "spoofed-flood")


@pytest.mark.parametrize(
    ("why", "detail", "says"),
    [
        (Withholding.OBSERVES, "", "policy old would release 1 connection older than 2 s; it only observes"),
        (Withholding.BUDGET, "5/s", "policy old leaves 1 connection at :8080 for later: its budget is 5/s"),
        (Withholding.FORBIDDEN, "acks-lost", "policy old releases nothing at :8080: acks-lost forbids it"),
        (
            Withholding.CANNOT_TELL,
            "the limit is not known",
            "policy old releases nothing at :8080: the limit is not known",
        ),
    ],
)
def test_a_release_that_is_withheld_says_why(why: Withholding, detail: str, says: str) -> None:
    model = build(sample([request()], [listener()]))
    release = Release(SELF, Filter(older_than_s=2), "", policy="old")
    [line] = watchlines.TextLines(False).withheld(model, Withheld(release, (2, "0.0.0.0", 8080, 0), why, 1, detail))
    assert line.partition("  ")[2] == says
