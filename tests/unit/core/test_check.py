"""What a check comes to: by the verdict, by thresholds, and where something could not be read."""

from __future__ import annotations

import pytest

from halfopen.core.check import CheckState, Thresholds, outcome, ranges
from halfopen.core.errors import UsageError
from halfopen.core.fields.check import CheckedValues
from halfopen.core.findings.finding import Level

VALUES = CheckedValues(half_open=500, oldest_s=12.5, drops_per_s=3.0, accept_queue=0, close_wait=60)
UNREAD = CheckedValues(half_open=500, oldest_s=12.5, drops_per_s=None, accept_queue=0)


def thresholds(warning: str = "", critical: str = "") -> Thresholds:
    return Thresholds(ranges(warning.split(), what="-w"), ranges(critical.split(), what="-c"))


@pytest.mark.parametrize(
    ("level", "state"),
    [(Level.OK, 0), (Level.NOTICE, 0), (Level.WARNING, 1), (Level.CRITICAL, 2)],
)
def test_without_thresholds_the_verdict_decides(level: Level, state: int) -> None:
    assert outcome(VALUES, Thresholds(), [Level.OK, level], whole=True).state == state


@pytest.mark.parametrize(
    ("warning", "critical", "state", "crossed"),
    [
        ("1000", "2000", CheckState.OK, []),
        ("400", "2000", CheckState.WARNING, ["half_open"]),
        ("400", "499", CheckState.CRITICAL, ["half_open"]),
        ("", "half_open=@500:500", CheckState.CRITICAL, ["half_open"]),
        ("oldest=10", "oldest=60", CheckState.WARNING, ["oldest"]),
        ("drops_per_s=0 oldest=10", "drops_per_s=2.5", CheckState.CRITICAL, ["drops_per_s", "oldest"]),
        ("accept_queue=1:", "", CheckState.WARNING, ["accept_queue"]),
        ("close_wait=50", "close_wait=100", CheckState.WARNING, ["close_wait"]),
    ],
)
def test_thresholds_decide_where_there_are_any(
    warning: str, critical: str, state: CheckState, crossed: list[str]
) -> None:
    came_to = outcome(VALUES, thresholds(warning, critical), [Level.CRITICAL], whole=True)
    assert came_to.state is state
    assert [name for name, _ in came_to.crossed] == crossed


def test_of_two_ranges_of_a_value_the_critical_one_is_told() -> None:
    [(_, asked)] = outcome(VALUES, thresholds("100", "200"), [], whole=True).crossed
    assert asked.text == "200"


def test_what_could_not_be_read_is_unknown_but_hides_nothing_worse() -> None:
    assert outcome(UNREAD, thresholds("drops_per_s=1"), [], whole=True).state is CheckState.UNKNOWN
    assert outcome(UNREAD, thresholds("1000"), [], whole=True).state is CheckState.OK
    assert outcome(UNREAD, thresholds("drops_per_s=1 half_open=1"), [], whole=True).state is CheckState.WARNING
    assert outcome(VALUES, Thresholds(), [Level.OK], whole=False).state is CheckState.UNKNOWN
    assert outcome(VALUES, Thresholds(), [Level.WARNING], whole=False).state is CheckState.WARNING
    assert outcome(VALUES, Thresholds(), [Level.CRITICAL], whole=False).state is CheckState.CRITICAL


@pytest.mark.parametrize(
    ("word", "said"),
    [("age=3", "there is no value 'age'"), ("half_open=", "is not a range"), ("=3", "there is no value ''")],
)
def test_words_that_will_not_do(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ranges([word], what="-w")
    with pytest.raises(UsageError, match="twice"):
        ranges(["3", "half_open=4"], what="-w")


def test_values_of_several_namespaces_add_up() -> None:
    both = VALUES + CheckedValues(1, 60.0, 0.5, 2, 1)
    assert both == CheckedValues(501, 60.0, 3.5, 2, 61)
    assert (VALUES + UNREAD).drops_per_s is None
    assert (VALUES + UNREAD).close_wait is None
