"""What was confirmed is carried out where it was counted, once, whatever is shown by then."""

from __future__ import annotations

from typing import Any

import pytest

import live as made
from halfopen.core.errors import NotPermitted
from halfopen.core.policy.actions import Released
from halfopen.linux.netns import Netns
from halfopen.ops.executor import Executor
from halfopen.ops.top.changes import release_of
from halfopen.ops.top.work import Pending, TopWork, failed
from halfopen.present.language import spoken
from halfopen.present.screen.state import ScreenState
from halfopen.present.screen.styled import plain


def test_a_release_goes_where_it_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[Any, Any]] = []

    def execute(_: Executor, action: Any, ns: Netns, **__: Any) -> Released:
        done.append((action, ns))
        return Released(action, matched=3, released=3)

    monkeypatch.setattr(Executor, "execute", execute)
    space, other = made.space(), Netns("web", 4711, "/run/netns/web")
    view = space.view(made.KEY)
    assert view is not None
    work = TopWork(Executor("/nonexistent"), lambda _: space.model, "why")
    action = release_of(space, view, 3.0, "why")
    work.pending = Pending(action, other)
    state = work.carry_out()(ScreenState(working="changing"))
    assert done == [(action, other)]
    assert state.working == ""
    assert state.notice.startswith("3 half-open connections released (older than 3 s, on :8080)")
    assert "Nothing was changed" in work.carry_out()(ScreenState()).notice
    assert len(done) == 1


def test_what_was_not_confirmed_is_forgotten() -> None:
    space = made.space()
    view = space.view(made.KEY)
    assert view is not None
    work = TopWork(Executor("/nonexistent"), lambda _: space.model, "why")
    work.pending = Pending(release_of(space, view, None, "why"), Netns("self", 1, "/proc/self/ns/net"))
    work.forget()
    assert work.carry_out()(ScreenState()).notice == "Nothing was changed"


WORDS = "too many open files; raise the limit (ulimit -n, fs.file-max)"


def test_what_could_not_be_done_is_said_in_the_language_that_is_spoken() -> None:
    with spoken("zh"):
        change = failed(NotPermitted(WORDS))
    assert change(ScreenState()).notice not in ("", WORDS)
    assert failed(NotPermitted(WORDS))(ScreenState()).notice == WORDS


def test_the_command_of_a_question_is_there_as_a_whole() -> None:
    """It was cut off at the edge of the screen: `--netns /pr…`."""
    words = "halfopen tune listener '[2001:db8:1::1]:3306' --backlog 4096 --netns /proc/11712/fd/3"
    work = TopWork(Executor("/nonexistent"), lambda _: made.space().model, "why", columns=80)
    lines = [plain(line) for line in work._command("Command", words, " (t again)")]
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip().removesuffix(" \\") for line in lines) == f"Command  {words} (t again)"
