"""The loop of a screen: what a key leaves behind."""

from __future__ import annotations

from typing import Any

import live as made
from halfopen.core.live import Live
from halfopen.ops.top.keys import KeyLoop
from halfopen.ops.top.top import ReadingSource, Top
from halfopen.present.screen.help import help_lines
from halfopen.present.screen.painting import Painter
from halfopen.present.screen.state import ScreenState


class _Small:
    """A terminal, as far as a key needs one."""

    def size(self) -> tuple[int, int]:
        return 80, 24


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
