"""From bytes to keys."""

from __future__ import annotations

import pytest

from halfopen.present.screen.keyboard import KeyDecoder


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b[5~\x1b[6~", ["page up", "page down"]),
        (b"\r", ["enter"]),
        (b"\x7f", ["backspace"]),
        (b"\x1bOP\x1b[21~", ["?", "q"]),
        ("/é日".encode(), ["/", "é", "日"]),
        (b"\x1b[1;5Cx", ["x"]),  # Ctrl-Right means nothing here
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x00\x01", []),
        (b"\xff\xfeq", ["q"]),
    ],
)
def test_whole_keys(typed: bytes, keys: list[str]) -> None:
    assert KeyDecoder().take(typed) == keys


@pytest.mark.parametrize("typed", [b"\x1b[A", b"\x1b[5~", b"\x1bOP", "日".encode(), b"\x1b[[A"])
def test_a_key_in_pieces_is_the_same_key(typed: bytes) -> None:
    whole, pieces = KeyDecoder().take(typed), KeyDecoder()
    assert [key for byte in typed for key in pieces.take(bytes([byte]))] == whole
    assert not pieces.waits


def test_escape_alone_is_a_key_once_nothing_follows() -> None:
    keys = KeyDecoder()
    assert keys.take(b"\x1b") == []
    assert keys.waits
    assert keys.flush() == ["escape"]
    assert not keys.waits
    assert keys.flush() == []


def test_any_bytes_at_all() -> None:
    keys = KeyDecoder()
    for first in range(256):
        for second in (0, 27, 91, 79, 0x80, 0xFF):
            for key in (*keys.take(bytes([first, second])), *keys.flush()):
                assert key.isprintable()
