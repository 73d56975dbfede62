"""The page's state, made of what a watch keeps: in both languages, bounded, and of plain texts."""

from __future__ import annotations

import itertools
import json
from typing import Any

from halfopen.core.live import Live
from halfopen.core.model.model import build
from halfopen.core.tune.keys import ABORT, COOKIES, RTO_MAX, SOMAXCONN, SYN_BACKLOG, SYN_RETRIES, SYNACK
from halfopen.core.tune.settings import advise
from halfopen.present.advised import advised
from halfopen.present.language import spoken
from halfopen.present.web import state as state_file
from halfopen.present.web.state import state
from live import calm, flooded, live, space
from rows import listener, sample


def test_the_worst_namespace_first_with_all_that_explains_it() -> None:
    shown = state(live(calm("quiet"), space()))
    first, second = shown["spaces"]
    assert (first["name"], first["level"]) == ("self", "critical")
    assert second["level"] == "ok"
    assert first["next"][0] == "halfopen diagnose --for 10s"
    assert second["next"] == []
    cause = first["causes"][0]
    assert cause["text"]
    assert cause["evidence"]
    assert cause["commands"]
    assert first["incidents"]["ids"] == ["20260101T000000Z-abcdef"]
    rates = {one["name"]: one for one in first["rates"]}
    assert rates["drops"]["now"] == "36"
    assert len(rates["drops"]["values"]) == 40
    assert {one["name"] for one in first["settings"]} <= {name for _, name, _ in state_file.SETTINGS_SAID}


def test_every_listener_has_both_queues() -> None:
    table = state(live())["spaces"][0]["listeners"]
    names = [column["name"] for column in table["columns"]]
    rows = {row[names.index("listener")]: row for row in table["rows"]}
    assert set(rows) == {":8080", ":443", "192.0.2.7:9000"}
    assert rows["192.0.2.7:9000"][names.index("accept_queue")] == "17/17"
    assert table["rows"][0][0] == ":8080"
    full = table["bars"][[row[0] for row in table["rows"]].index("192.0.2.7:9000")]
    assert full["accept_queue"] == 1.0


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def test_chinese_differs_in_words_alone() -> None:
    english, chinese = state(live()), state(live(), "zh")
    assert [s["half_open"] for s in chinese["spaces"]] == [s["half_open"] for s in english["spaces"]]
    assert any("\u4e00" <= c <= "\u9fff" for c in chinese["spaces"][0]["headline"])
    titles = {c["title"] for c in chinese["spaces"][0]["listeners"]["columns"]}
    assert {"监听", "SYN 队列", "全连接队列"} <= titles
    assert "事件" in chinese["spaces"][0]["incidents"]["rows"][0]
    assert "incident" in english["spaces"][0]["incidents"]["rows"][0]
    assert not any("\u4e00" <= c <= "\u9fff" for text in _texts(english) for c in text)


def test_many_listeners_are_cut_and_the_page_says_so() -> None:
    rows = [listener(port=1000 + i, inode=i + 1) for i in range(state_file.LISTENERS_MOST + 7)]
    shown = state(Live((space(build(sample([], rows)), incidents=()),), 1e9))
    table = shown["spaces"][0]["listeners"]
    assert len(table["rows"]) == len(table["bars"]) == state_file.LISTENERS_MOST
    assert table["left_out"] == "7 more are not shown"


def test_what_is_not_printable_is_escaped_and_nothing_else() -> None:
    model = flooded()
    shown = state(live(space(model, trouble="cannot read \x1b[31m <b>")))
    assert "\x1b" not in json.dumps(shown, ensure_ascii=False)
    assert any("<b>" in line for line in shown["spaces"][0]["missing"])


def test_before_the_first_reading_there_is_nothing_to_show() -> None:
    assert state(Live())["spaces"] == []


def test_advice_on_settings_has_no_clause_that_is_english_alone() -> None:
    grid = {
        SYNACK: (0, 1, 2, 5, 6),
        COOKIES: (0, 1, 2),
        SYN_BACKLOG: (64, 4096),
        SOMAXCONN: (128, 65536),
        ABORT: (0, 1),
        SYN_RETRIES: (6,),
        RTO_MAX: (1000, 120_000),
    }
    with spoken("zh"):
        for values in itertools.product(*grid.values()):
            for one in advise(dict(zip(grid, values, strict=True))):
                for text in (one.effect, one.reason, one.cost):
                    for clause in advised(text).split("\uff1b"):
                        assert not clause or any("\u4e00" <= c <= "\u9fff" for c in clause), clause
        assert advised("outgoing connections are given up after 2 min 7 s").endswith(
            "2 \u5206 7 \u79d2\u540e\u653e\u5f03"
        )
    assert advised("off: a full SYN queue drops every further SYN; something new") == (
        "off: a full SYN queue drops every further SYN; something new"
    )
