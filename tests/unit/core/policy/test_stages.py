"""The stages of an alarm: the table is whole, and what comes and goes is told as little as it should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.policy.stages import TABLE, AlarmStage, Signal, StageTold, Standing, Timing, advance

QUICK = examples(200)
LETTERS = {".": Signal.CALM, "h": Signal.HELD, "?": Signal.SIGNS, "!": Signal.SURE}


def transcript(signals: str, timing: Timing | None = None) -> list[str]:
    """What is told of a signal a second, each with its second."""
    now, said = Standing(), []
    for second, letter in enumerate(signals):
        now, told = advance(now, float(second), LETTERS[letter], timing or Timing())
        if told is not StageTold.NOTHING:
            said.append(f"{second} {told.value}")
    return said


def test_every_stage_knows_every_signal() -> None:
    assert set(TABLE) == {(stage, signal) for stage in AlarmStage for signal in Signal}
    assert {move.to for move in TABLE.values()} == set(AlarmStage)


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ("......", []),
        ("..hhhh..", []),  # above half of the limit is nothing yet
        ("..?...", ["2 rising"]),
        ("..?....", ["2 rising", "6 passed"]),
        ("..??....", ["2 rising", "7 passed"]),
        ("..?.?.....", ["2 rising", "8 passed"]),  # one rise
        ("..?!", ["2 rising", "3 alarm"]),
        ("..!", ["2 alarm"]),
        (".!" + "." * 10, ["1 alarm"]),
        (".!" + "." * 11, ["1 alarm", "12 clear"]),
        (".!" + "." * 9 + "h" + "." * 10, ["1 alarm"]),  # calm anew
        (".!" + "." * 5 + "!!" + "." * 11, ["1 alarm", "19 clear"]),  # the same alarm
        (".!" + "?" * 30, ["1 alarm"]),
        (".!" + "h" * 30, ["1 alarm"]),
    ],
)
def test_transcripts(signals: str, said: list[str]) -> None:
    assert transcript(signals) == said


def test_what_comes_and_goes_is_one_alarm_from_the_third_time_on() -> None:
    once = "!" + "." * 19
    said = transcript(once * 20 + "." * 400)
    assert [word.split()[1] for word in said] == ["alarm", "clear", "alarm", "clear", "alarm", "clear"]
    # The last pulse is at 380 s; it ends after five minutes of calm.
    assert said[-1] == "681 clear"


@QUICK
@given(st.text("..h?!", max_size=120))
def test_rises_and_alarms_end_before_others_begin(signals: str) -> None:
    on: str | None = None
    for word in (line.split()[1] for line in transcript(signals)):
        if word == "rising":
            assert on is None
            on = "rise"
        elif word == "alarm":
            assert on != "alarm"
            on = "alarm"
        else:
            assert on == {"passed": "rise", "clear": "alarm"}[word]
            on = None


@QUICK
@given(st.text(".h", max_size=120))
def test_nothing_is_told_of_calm(signals: str) -> None:
    assert transcript(signals) == []
