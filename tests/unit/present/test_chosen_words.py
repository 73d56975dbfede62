# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Which connections a release means, in words: the same in English, whole in Chinese."""

from __future__ import annotations

import pytest

from halfopen.core.filters import Filter
from halfopen.core.units import endpoint, prefix
from halfopen.present.chosen_words import chosen, rephrased
from halfopen.present.language import spoken

ALL = Filter(90.5, 2, (endpoint(":443"), endpoint("[2001:db8::1]:80")), (prefix("198.51.100.0/24"),))
HAN = "已超过 90 秒，至少重传 2 次，监听 :443，监听 [2001:db8::1]:80，来自 198.51.100.0/24"


@pytest.mark.parametrize("filter", [Filter(), ALL, Filter(older_than_s=400)])
def test_english_is_what_is_recorded(filter: Filter) -> None:
    assert chosen(filter) == filter.describe()


def test_every_condition_is_chinese() -> None:
    with spoken("zh"):
        assert chosen(ALL) == HAN
        assert chosen(Filter()) == "全部"
        assert rephrased("in a way nobody knows, on :443") == "in a way nobody knows，监听 :443"
