"""Ranges as the guidelines of monitoring plugins have them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfopen.core.errors import UsageError
from halfopen.core.ranges import alert_range


@pytest.mark.parametrize(
    ("text", "told", "not_told"),
    [
        # The examples of the guidelines.
        ("10", (-1, 10.5, 11), (0, 5, 10)),
        ("10:", (-1, 9.9), (10, 1e9)),
        ("~:10", (10.1, 1e9), (-1e9, 0, 10)),
        ("10:20", (9, 21), (10, 15, 20)),
        ("@10:20", (10, 15, 20), (9, 21)),
        # And what follows from them.
        (":10", (-1, 11), (0, 10)),
        ("@10", (0, 10), (-1, 11)),
        ("-5:-1.5", (-6, -1), (-5, -1.5)),
        ("0", (0.1, -0.1), (0,)),
        ("~:", (), (-1e9, 0, 1e9)),
    ],
)
def test_a_value_is_told(text: str, told: tuple[float, ...], not_told: tuple[float, ...]) -> None:
    asked = alert_range(text, what="-w")
    assert asked.text == text
    assert all(asked.tells(value) for value in told)
    assert not any(asked.tells(value) for value in not_told)


@pytest.mark.parametrize(
    "text",
    ["", "x", "~", "@", "@@1", "1:2:3", "20:10", "1,5", "1e3", "nan", "inf", "10s", " 10", "10%", "-", "1.", ".5"],
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match="-w"):
        alert_range(text, what="-w")


NUMBERS = st.integers(-1000, 1000)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_range_and_the_same_with_an_at_tell_of_opposite_values(start: int, end: int, value: int) -> None:
    low, high = min(start, end), max(start, end)
    outside, inside = (alert_range(f"{at}{low}:{high}", what="-w") for at in ("", "@"))
    assert outside.tells(value) != inside.tells(value)
    assert inside.tells(value) == (low <= value <= high)


@given(st.text(max_size=8))
def test_any_text_is_a_range_or_wrong_usage(text: str) -> None:
    try:
        asked = alert_range(text, what="-w")
    except UsageError:
        return
    assert asked.start <= asked.end
    assert not math.isnan(asked.start + (0 if math.isinf(asked.end) else asked.end))
