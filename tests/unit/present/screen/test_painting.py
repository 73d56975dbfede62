"""Only what changed is written to the terminal."""

from __future__ import annotations

import re

from halfopen.present.screen.painting import Painter
from halfopen.present.screen.styled import cells, cut, gauge, padded, plain, sparkline, styled


def test_the_first_frame_is_whole_and_the_second_has_what_changed() -> None:
    painter = Painter(colour=True)
    first = painter.paint([styled("one"), styled("two")], 20, 3)
    assert "\x1b[2J" in first
    assert "one" in first
    second = painter.paint([styled("one"), styled(("2", "bold red"))], 20, 3)
    assert "one" not in second
    assert "\x1b[2J" not in second
    assert "\x1b[2;1H\x1b[1;31m2\x1b[0m\x1b[K" in second
    assert painter.paint([styled("one"), styled(("2", "bold red"))], 20, 3) == ""


def test_another_size_and_a_forgotten_screen_are_painted_whole() -> None:
    painter = Painter(colour=True)
    painter.paint([styled("one")], 20, 3)
    assert "\x1b[2J" in painter.paint([styled("one")], 21, 3)
    painter.forget()
    assert "one" in painter.paint([styled("one")], 21, 3)


def test_the_last_character_of_a_full_line_is_not_erased() -> None:
    assert Painter(colour=True).paint([styled("abcd")], 4, 1).endswith("abcd\x1b[?2026l")


def test_without_colours_bold_and_reverse_stay() -> None:
    text = Painter(colour=False).paint([styled(("x", "bold red reverse"), ("y", "cyan"))], 20, 1)
    assert "\x1b[1;7mx" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)
    assert "y" in text


def test_lines_are_cut_between_wide_characters() -> None:
    line = styled("ab日本", ("語x", "bold"))
    for width in range(1, 12):
        assert cells(cut(line, width)) <= width
        assert cells(padded(line, width)) == width
    assert plain(cut(line, 20)) == "ab日本語x"


def test_a_bar_shows_any_share_above_nothing() -> None:
    def part(share: float | None) -> int:
        return sum(len(text) for text, style in gauge("7/9", share, 10, "green") if "reverse" in style)

    assert [part(s) for s in (None, 0.0, 0.001, 0.5, 1.0, 3.0)] == [0, 0, 1, 5, 10, 10]
    assert plain(gauge("7/9", 0.5, 10, "green")) == "       7/9"


def test_a_sparkline_ends_at_the_right() -> None:
    assert sparkline([0, 1, 2, 4], 6) == "  ▁▃▅█"
    assert sparkline([1, 2, 3, 4], 2) == "▆█"
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([0, 9], 2, ascii_only=True) == "_#"
    assert sparkline([], 0) == ""
