"""Readings are spaced out by what they take, and that is told when it begins, doubles and ends."""

from __future__ import annotations

import pytest

from halfopen.core.policy.spacing import LONGEST_S, Spacing


def after(spacing: Spacing, *used_s: float) -> list[str | None]:
    """What is told after each reading."""
    told = []
    for one in used_s:
        spacing.took(one)
        news = spacing.news()
        told.append(None if news is None else news.line())
    return told


def test_without_a_share_nothing_is_spaced_out() -> None:
    spacing = Spacing(1.0)
    assert after(spacing, *[5.0] * 50) == [None] * 50
    assert spacing.now_s == 1.0


def test_one_long_reading_spaces_out_nothing() -> None:
    spacing = Spacing(1.0, 0.02)
    assert after(spacing, *[0.004] * 20, 0.1, *[0.004] * 20) == [None] * 41
    assert spacing.now_s == 1.0


def test_readings_that_take_too_much_are_spaced_out_to_keep_the_share() -> None:
    spacing = Spacing(1.0, 0.02)
    told = [t for t in after(spacing, *[0.08] * 200) if t is not None]
    assert spacing.now_s == pytest.approx(4.0, rel=0.01)
    assert 1 < len(told) <= 4, "when it begins and when it doubles, not at each reading"
    assert "to use at most 2.0% of a processor; raise max_cpu" in told[-1]
    back = [t for t in after(spacing, *[0.002] * 200) if t is not None]
    assert back[-1] == "readings are 1 s apart again"
    assert spacing.now_s == 1.0


def test_they_are_never_further_apart_than_the_longest() -> None:
    spacing = Spacing(1.0, 0.001)
    after(spacing, *[1.0] * 100)
    assert spacing.now_s == LONGEST_S
    slow = Spacing(30.0, 0.001)
    after(slow, *[1.0] * 100)
    assert slow.now_s == 30.0


def test_while_an_incident_is_on_readings_are_as_far_apart_as_they_are_wanted() -> None:
    spacing = Spacing(1.0, 0.02)
    after(spacing, *[0.08] * 100)
    spacing.alert = True
    assert after(spacing, 5.0) == ["readings are 1 s apart again"]
    assert spacing.now_s == 1.0
    spacing.alert = False
    assert spacing.now_s == pytest.approx(4.0, rel=0.01), "what was learned before still holds"
