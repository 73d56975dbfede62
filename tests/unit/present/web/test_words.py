"""The words of the page and its script: each word that is said is there, in every language, and none is left over."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from halfopen.present.web.words import LANGUAGES, words

PLACE = files("halfopen.service.web") / "static"
# uPlot's is not ours.
SCRIPTS = {
    one.name: one.read_text("utf-8") for one in PLACE.iterdir() if one.name.endswith(".js") and one.name != "uplot.js"
}
# By the name of a part, or of a period.
COMPUTED = {"now", "history", "settings", "hour", "day", "month"}


def test_the_script_says_what_there_is_and_all_of_it() -> None:
    said = set(re.findall(r"\bW\.(\w+)", "".join(SCRIPTS.values()))) | COMPUTED
    assert said == set(words("en"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_of_a_sentence_is_one_the_script_puts_in(language: str) -> None:
    english, here = words("en"), words(language)
    for name, text in english.items():
        if isinstance(text, str):
            assert re.findall(r"\{(\w+)\}", here[name]) == re.findall(r"\{(\w+)\}", text)


def test_every_script_is_small_and_imports_what_is_there() -> None:
    for text in SCRIPTS.values():
        assert text.count("\n") < 200
        for names, name in re.findall(r'^import (.+) from "\./(.+)";$', text, re.MULTILINE):
            for one in re.findall(r"\w+", names.partition("*")[0]):
                assert re.search(
                    rf"^export (?:async )?(?:function|class|const|let) {one}\b", SCRIPTS[name], re.MULTILINE
                )
    # Beginning with the page's own, each is imported.
    assert {name for text in SCRIPTS.values() for name in re.findall(r'from "\./(.+)";', text)} | {"page.js"} == set(
        SCRIPTS
    )


def test_no_script_makes_markup_of_text() -> None:
    for text in SCRIPTS.values():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert "http:" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https:" not in text
