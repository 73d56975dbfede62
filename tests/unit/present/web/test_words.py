"""The words of the page and its script: each word that is said is there, in every language, and none is left over."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from halfopen.present.web.words import LANGUAGES, words

SCRIPT = (files("halfopen.service.web") / "static" / "page.js").read_text(encoding="utf-8")
# By the name of a part, or of a period.
COMPUTED = {"now", "history", "settings", "hour", "day", "month"}


def test_the_script_says_what_there_is_and_all_of_it() -> None:
    said = set(re.findall(r"\bW\.(\w+)", SCRIPT)) | COMPUTED
    assert said == set(words("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_of_a_sentence_is_one_the_script_puts_in(language: str) -> None:
    english, here = words("en"), words(language)
    for name, text in english.items():
        if isinstance(text, str):
            assert re.findall(r"\{(\w+)\}", here[name]) == re.findall(r"\{(\w+)\}", text)


def test_no_script_makes_markup_of_text() -> None:
    for name in ("page.js", "draw.js", "charts.js", "service.js"):
        text = (files("halfopen.service.web") / "static" / name).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https:" not in text
