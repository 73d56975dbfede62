# ruff: noqa: RUF001 (Chinese punctuation is meant)
"""Which connections a release means, in words: the same in English, whole in Chinese."""

from __future__ import annotations

import re

import pytest

from halfopen.core.filters import Filter
from halfopen.core.policy.release_policy import ReleasePolicy
from halfopen.core.sparing import Sparing
from halfopen.core.units import endpoint, prefix
from halfopen.present.chosen_words import chosen, rephrased, reworded, why_guarded
from halfopen.present.language import spoken

ALL = Filter(90.5, 2, (endpoint(":443"), endpoint("[2001:db8::1]:80")), (prefix("198.51.100.0/24"),))
HAN = "已超过 90 秒，至少重传 2 次，监听 :443，监听 [2001:db8::1]:80，来自 198.51.100.0/24"


@pytest.mark.parametrize("filter", [Filter(), ALL, Filter(older_than_s=400)])
def test_english_is_what_is_recorded(filter: Filter) -> None:
    assert chosen(filter) == filter.describe()


def test_policies_are_chinese_in_the_lines_of_a_watch() -> None:
    one = ReleasePolicy(
        "floods",
        Filter(older_than_s=8),
        causes=frozenset({"spoofed-flood"}),
        fuller_than=0.5,
        budget_per_s=500,
        sparing=Sparing(clients_s=3600.0),
    )
    assert rephrased(one.describe()) == one.describe()
    with spoken("zh"):
        said = rephrased(one.describe())
    assert said.startswith("已超过 8 秒，原因为 spoofed-flood 期间，SYN 队列占用超过 50%，每秒最多 500 个，不释放最近")
    assert not set(re.findall("[a-z]{3,}", said)) - {"spoofed", "flood"}


def test_every_condition_is_chinese() -> None:
    with spoken("zh"):
        assert chosen(ALL) == HAN
        assert chosen(Filter()) == "全部"
        assert rephrased("in a way nobody knows, on :443") == "in a way nobody knows，监听 :443"


REASONS = {
    "watch: 12 older than 8 s": "监控：12 个半连接（已超过 8 秒）",
    "policy floods: 3 all at :8080": "策略 floods：:8080 上有 3 个半连接（全部）",
    "policy floods: spoofed-flood, SYN queue 97% full, 812 older than 8 s, on :8080 at [2001:db8::1]:80": (
        "策略 floods：[2001:db8::1]:80 上有 spoofed-flood，SYN 队列已用 97%，812 个半连接（已超过 8 秒，监听 :8080）"
    ),
    "policy protect: always": "策略 protect：始终启用",
    "policy protect: spoofed-flood, SYN queue 90% full at port 443": (
        "策略 protect：端口 443 上有 spoofed-flood，SYN 队列已用 90%"
    ),
    "ticket 4711: as agreed, at once": "ticket 4711: as agreed, at once",
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_of_policies_are_chinese_and_those_of_people_stay(reason: str) -> None:
    assert reworded(reason) == reason
    with spoken("zh"):
        assert reworded(reason) == REASONS[reason]


def test_the_reason_of_a_guard_without_the_name_of_its_policy() -> None:
    assert why_guarded("policy protect: spoofed-flood at port 443") == "spoofed-flood at port 443"
    with spoken("zh"):
        assert why_guarded("policy protect: spoofed-flood at port 443") == "端口 443 上有 spoofed-flood"
