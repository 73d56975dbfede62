"""The screen of `memory`: the first line is what is wrong, and says as much as its level does."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from connections import evidence, sockets
from halfopen.core.findings.judging import judged
from halfopen.core.model.memory import build_memory
from halfopen.core.sample.closing import ESTABLISHED
from halfopen.core.sample.memory import MemoryReading
from halfopen.present import memory

READING = MemoryReading(4096, 2125, (1000, 10_000, 20_000), pressed=False, orphans=0, most_orphans=100, minisockets=0)
CALM = "TCP holds 8.3 MiB of buffers, 21.2% of the threshold of memory pressure"


def lines(rows: list[dict[str, Any]]) -> list[str]:
    part = sockets(*rows)
    e = evidence(part)
    out = Console(file=io.StringIO(), width=120, highlight=False)
    memory.show(out, e.now.sample, build_memory(READING, part, 0, 0), judged(e))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_a_notice_is_what_the_first_line_says() -> None:
    first, *others = lines([{"state": ESTABLISHED, "unread": 60_000}])
    assert first.startswith("NOTICE")
    assert "does not read 1 connection" in first
    assert f"  - {CALM}" in others


def test_where_nothing_is_wrong_the_first_line_says_how_much_there_is() -> None:
    assert lines([])[0].split(maxsplit=1) == ["OK", CALM]
