"""The alarm: when it may and may not come, against the same written plainly with `statistics`."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfopen.core.policy.anomaly import Sensitivity, Watcher, step

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
VALUES = st.lists(st.integers(0, 300) | st.integers(0, 2**40), max_size=60)
SENSITIVITIES = st.builds(
    Sensitivity,
    minimum=st.integers(1, 1000),
    factor=st.floats(1, 10),
    sigmas=st.floats(0, 10),
    window=st.integers(1, 20),
    calm=st.integers(1, 4),
)


def plainly(values: list[int], s: Sensitivity) -> list[str]:
    past: list[int] = []
    alarmed, calm, said = False, 0, []
    for value in values:
        recent = past[-s.window :]
        usual = statistics.median(recent) if recent else 0.0
        spread = statistics.median(abs(v - usual) for v in recent) * 1.4826 if recent else 0.0
        limit = max(s.minimum, usual * s.factor, usual + s.sigmas * spread)
        if not alarmed:
            alarmed, calm = value >= limit, 0
            said.append("begins" if alarmed else "")
            if not alarmed:
                past.append(value)
            continue
        calm = calm + 1 if value < limit / 2 else 0
        alarmed = calm < s.calm
        said.append("" if alarmed else "ends")
        if not alarmed:
            past.append(value)
    return said


@QUICK
@given(VALUES, SENSITIVITIES)
def test_as_it_would_be_written_plainly(values: list[int], s: Sensitivity) -> None:
    state, said, peak = Watcher(), [], 0
    for value in values:
        before = state
        state, judged = step(state, value, s)
        again, _ = step(before, value, s)
        assert again == state  # no memory but the state
        said.append("begins" if judged.begins else "ends" if judged.ends else "")
        assert len(state.past) <= s.window
        assert judged.limit >= s.minimum
        assert not (judged.begins and value < s.minimum)
        if judged.begins:
            peak = 0
        peak = max(peak, value)
        if state.alarmed:
            assert state.peak == peak
            assert state.past == before.past  # what is abnormal never becomes the usual
    assert said == plainly(values, s)


@pytest.mark.parametrize("value", [0, 1, 49])
def test_below_the_minimum_nothing_ever_alarms(value: int) -> None:
    state = Watcher()
    for i in range(200):
        state, judged = step(state, value * (i % 2))
        assert not judged.begins


def test_exactly_the_limit_alarms_and_half_of_it_is_not_yet_calm() -> None:
    s = Sensitivity(minimum=100, calm=2)
    assert not step(Watcher(), 99, s)[1].begins
    state, judged = step(Watcher(), 100, s)
    assert judged.begins
    for value in (50, 49, 50, 49):
        state, judged = step(state, value, s)
        assert not judged.ends
    _, judged = step(state, 0, s)
    assert judged.ends
