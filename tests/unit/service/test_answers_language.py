"""A command that the service runs for somebody speaks the language of that person, JSON excepted."""

from __future__ import annotations

import json

import pytest

from halfopen.service.answers import Wanted, run


@pytest.mark.slow
def test_the_asker_is_answered_in_their_language(monkeypatch: pytest.MonkeyPatch) -> None:
    # The service's own language is another matter.
    monkeypatch.setenv("LANGUAGE", "en")
    chinese = run(Wanted(("status", "--direct", "--instant"), language="zh"))
    english = run(Wanted(("status", "--direct", "--instant")))
    assert "放弃时间" in chinese.output
    assert "Release time" in english.output
    document = run(Wanted(("status", "--direct", "--instant", "--json"), language="zh")).output
    assert json.loads(document)["namespaces"][0]["verdict"]["level"]
    assert document.isascii()
