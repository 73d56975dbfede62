"""The rate at which connections come that nobody answers, by the ages of those that are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from halfopen.core.model.model import build
from halfopen.ops.advise import released_since, unanswered_per_s
from rows import listener, request, sample
from verdicts import many, silent


def test_those_that_came_while_it_was_watched_are_counted() -> None:
    """70 that are 6.5 s old, seen after 10 s: they came within the 7 s whose connections are no longer young."""
    model = build(sample(silent(70), [listener(limit=4096)]))
    assert unanswered_per_s(model, 0, 10.0) == pytest.approx(10.0)


def test_those_from_before_tell_nothing_of_now() -> None:
    model = build(sample(silent(70), [listener(limit=4096)]))
    assert unanswered_per_s(model, 0, 5.0) == 0.0


def test_the_young_may_still_answer() -> None:
    assert unanswered_per_s(build(sample(many(70, expires_ms=300), [listener(limit=4096)])), 0, 10.0) == 0.0


def test_none_is_older_than_the_release_time() -> None:
    """2 retries: they are gone after 7 s, however long it was watched."""
    model = build(sample(silent(70), [listener(limit=4096)], settings={"tcp_synack_retries": 2}))
    assert unanswered_per_s(model, 0, 60.0) == pytest.approx(70 / 4)


def test_an_audit_log_that_is_no_file_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        monkeypatch.setenv("HALFOPEN_AUDIT_LOG", path)
        assert released_since(0.0, 1) == 0


def test_each_listener_has_its_own() -> None:
    rows = [listener(limit=4096), listener(port=81, limit=4096, inode=2)]
    one = request(port=81, retransmits=2, expires_ms=500)
    model = build(sample([*silent(70), one], rows))
    ports = [view.port for view in model.views]
    assert unanswered_per_s(model, ports.index(81), 10.0) == pytest.approx(1 / 7)
    assert unanswered_per_s(model, ports.index(8080), 10.0) == pytest.approx(10.0)
