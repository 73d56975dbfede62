"""The table of listeners: retransmits that can be read, and a mark that is explained."""

from __future__ import annotations

import pytest

from halfopen.core.fields.listener import retransmits_cell


@pytest.mark.parametrize(
    ("profile", "shown"),
    [
        ((), "-"),
        ((7,), "7"),
        ((0, 30), "0/30"),
        ((152, 404, 812, 1032), "152/404/812/1032"),
        ((0, 0, 5, 9), "0/0/5/9"),
        ((0, 0, 0, 5), "5 at 3"),
        ((1, 2, 3, 4, 5, 6, 7), "1/2/3/4/5/6/7"),
        ((0, 0, 0, 0, 0, 0, 0, 0, 47, 0, 69), "47 at 8, 69 at 10"),
        ((4, 3, 2, 1, 9, 9, 9, 3, 40, 30, 7), "10 at 0-3, 30 at 4-7, 77 at 8-10"),
        ((1, 1, 1, 1, 0, 0, 0, 0, 0), "3 at 0-2, 1 at 3-5"),
    ],
)
def test_retransmits(profile: tuple[int, ...], shown: str) -> None:
    assert retransmits_cell(profile) == shown
