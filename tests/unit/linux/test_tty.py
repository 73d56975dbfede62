"""What is written to a terminal, in its own encoding."""

from __future__ import annotations

import pytest

from halfopen.linux.tty import encoded


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [
        ("\x1b[1m一 ─…●", "utf-8", "\x1b[1m一 ─…●".encode()),
        ("└─┤ 5 s … x", "iso-8859-1", b"+-+ 5 s . x"),
        # A terminal in GBK has Chinese, and shows lines and dots two cells wide.
        ("半连接 │…", "gbk", "半连接 |.".encode("gbk")),
        ("半连接", "ascii", b"???"),
    ],
)
def test_it_gets_what_it_can_show(text: str, encoding: str, written: bytes) -> None:
    assert encoded(text, encoding) == written
