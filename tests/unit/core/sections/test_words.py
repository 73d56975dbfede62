"""The values of the configuration: as people write them, and a refusal that says how."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from halfopen.core.errors import UsageError
from halfopen.core.sections import words
from halfopen.core.sections.words import Word, duration, nearest, one_of, whole


def kind(name: str) -> Word:
    """The kind of value behind a type of `words`."""
    [found] = get_args(getattr(words, name))[1:]
    assert isinstance(found, Word)
    return found


@pytest.mark.parametrize(
    ("name", "text", "value", "written"),
    [
        ("Duration", "1m30s", 90.0, '"1m30s"'),
        ("Duration", "90s", 90.0, '"1m30s"'),
        ("Duration", "500ms", 0.5, '"500ms"'),
        ("Duration", "1.5s", 1.5, '"1.5s"'),
        ("Duration", "1d", 86400.0, '"1d"'),
        ("Duration", " 2h ", 7200.0, '"2h"'),
        ("Duration", "0s", 0.0, '"0s"'),
        ("Share", "80%", 0.8, '"80%"'),
        ("Share", "2.5 %", 0.025, '"2.5%"'),
        ("PerSecond", "500/s", 500, '"500/s"'),
    ],
)
def test_values_as_people_write_them(name: str, text: str, value: object, written: str) -> None:
    word = kind(name)
    assert word.read(text) == pytest.approx(value)
    assert word.write(word.read(text)) == written


@pytest.mark.parametrize(
    ("name", "raw", "says"),
    [
        ("Duration", 1, '1 has no unit; write "1s" for seconds'),
        ("Duration", "1", '"1" has no unit; write "1s" for seconds'),
        ("Duration", 1.5, '1.5 has no unit; write "1.5s" for seconds'),
        ("Duration", "30s1m", "'30s1m' is not a duration"),
        ("Duration", "1s1s", "is not a duration"),
        ("Duration", True, "true is not a text"),
        ("Duration", "", "'' is not a duration"),
        ("Duration", -1, "-1 is not a text"),
        ("Share", 80, '80 is not a percentage; write it as "80%"'),
        ("Share", "101%", "is out of range"),
        ("Share", 0.8, "is not a percentage"),
        ("PerSecond", 500, '500 is not a rate; write it as "500/s"'),
        ("PerSecond", "0/s", "is not a rate"),
        ("PerSecond", "5/m", "is not a rate"),
    ],
)
def test_a_refusal_says_how_it_is_written(name: str, raw: object, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        kind(name).read(raw)
    assert says in raised.value.line()


def test_bounds_and_near_words() -> None:
    for word, raw in ((whole(1, 9), 10), (duration(1, 60), "61s"), (duration(1), "10ms"), (one_of(["act"]), "acts")):
        with pytest.raises(UsageError):
            word.read(raw)
    assert nearest("obsrve", ["observe", "act"]) == 'did you mean "observe"? '
    assert nearest("xyz", ["observe", "act"]) == ""
    with pytest.raises(UsageError, match="out of range") as raised:
        whole(6, 9).read(5)
    assert raised.value.hint == "give 6 to 9"


@examples(300)
@given(st.integers(0, 10**12).map(lambda ms: ms / 1000))
def test_a_time_written_is_read_back(seconds: float) -> None:
    word = duration()
    assert word.read(word.write(seconds).strip('"')) == pytest.approx(seconds)
