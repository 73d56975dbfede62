"""An output that nobody reads holds up nobody; what had to be dropped is told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from halfopen.service.output import PatientOutput


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        os.close(fd)


def everything(fd: int, last: bytes) -> bytes:
    found = b""
    while not found.endswith(last):
        found += os.read(fd, 65536)
    return found


def test_lines_come_in_order(pipe: list[int]) -> None:
    out = PatientOutput(pipe[1])
    for i in range(1000):
        print(f"{i} \u2192 \udcff", file=out, flush=True)
    print("end", file=out)
    lines = everything(pipe[0], b"end\n").decode().splitlines()
    assert lines == [*(f"{i} \u2192 \\udcff" for i in range(1000)), "end"]
    out.end()


def test_one_that_is_stuck_holds_up_nobody_and_says_what_was_lost(pipe: list[int]) -> None:
    out = PatientOutput(pipe[1], most=10_000)
    began = time.monotonic()
    for i in range(20_000):
        print(f"line {i:06}", file=out, flush=True)
    assert time.monotonic() - began < 60
    lines = everything(pipe[0], b"line 019999\n").decode().splitlines()
    told = [line for line in lines if "dropped: standard output was stuck" in line]
    assert told
    assert sum(int(line.split()[1].replace(",", "")) - 1 for line in told) + len(lines) == 20_000
    out.end()


def test_one_whose_reader_is_gone_ends_nothing(pipe: list[int]) -> None:
    out = PatientOutput(pipe[1])
    os.close(pipe[0])
    pipe[0] = os.dup(pipe[1])
    for _ in range(100):
        print("line", file=out, flush=True)
    began = time.monotonic()
    out.end()
    assert time.monotonic() - began < 30
