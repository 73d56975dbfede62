"""The loop of a screen: what a key leaves behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import live as made
from halfopen.core.live import Live
from halfopen.ops.top.keys import KeyLoop
from halfopen.ops.top.top import ReadingSource, Top
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.help import help_lines
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.state import Page, ScreenState


class _Small:
    """A terminal, as far as a key needs one."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows

    def size(self) -> tuple[int, int]:
        return self.columns, self.rows

    def wake(self) -> None:
        """Nobody waits."""


def test_a_key_that_goes_past_the_end_of_a_text_need_not_be_taken_back() -> None:
    screen: Any = _Small()
    loop = KeyLoop(screen, Painter(colour=False), ScreenState().with_text("Help", help_lines()), ascii_only=True)
    loop._shown = made.live()
    for _ in range(60):
        loop._press("down")
    end = loop._state.top
    assert 0 < end < 60
    loop._press("up")
    assert loop._state.top == end - 1


def test_a_pause_before_the_first_reading_does_not_hold_an_empty_screen() -> None:
    screen: Any = _Small()
    nothing: Any = None
    top = Top(ReadingSource(lambda _: iter(())), nothing, screen, Painter(colour=False), ascii_only=True)
    top._press("p")
    top._kept.live = made.live()
    assert top._newest().spaces
    top._shown = made.live()
    top._kept.live = Live()
    assert top._newest().spaces


def test_a_reading_that_is_late_is_waited_for_and_said_to_be_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that hangs sends nothing: the screen has to look at the clock itself."""
    screen: Any = _Small()
    work: Any = SimpleNamespace(columns=0)
    top = Top(ReadingSource(lambda _: iter(())), work, screen, Painter(colour=False), ascii_only=True)
    assert top._patience_s() is None
    top._kept.live = made.live()
    taken_s = top._kept.live.spaces[0].model.sample.monotonic_s
    for age_s, late_s, patience_s in ((0.5, 0.0, 4.5), (4.9, 0.0, 1.0), (12.0, 12.0, 1.0)):
        monkeypatch.setattr("halfopen.ops.top.top.time.monotonic", lambda now=taken_s + age_s: now)
        assert top._drawn_state().late_s == pytest.approx(late_s)
        assert top._patience_s() == pytest.approx(patience_s)
    assert "The last reading is 12 s old" in made.shown(draw(top._kept.live, top._drawn_state(), 80, 24))
    top._press("p")
    assert top._drawn_state().late_s == 0


@pytest.mark.parametrize(("columns", "rows"), [(10, 40), (80, 5), (1, 1)])
def test_on_a_terminal_too_small_to_see_anything_no_key_acts_but_q(columns: int, rows: int) -> None:
    """The page of a listener was laid out for a width below zero, and a release could be confirmed unseen."""
    screen: Any = _Small(columns, rows)
    state = ScreenState(page=Page.DETAILS, listener=made.KEY, top=3)
    loop = KeyLoop(screen, Painter(colour=False), state, ascii_only=True)
    loop._shown = made.live()
    for key in ("down", "r", "y", "enter"):
        loop._press(key)
    assert loop._state == state
    loop._press("q")
    assert loop._quit
