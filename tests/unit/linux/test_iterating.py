"""What the kernel's iterators write, read at a pace; a pipe stands for an iterator."""

from __future__ import annotations

import os

import pytest

from halfopen.linux.bpf import iterating


def test_a_pause_follows_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, bytes(1000))
    os.close(writer)
    pauses: list[float] = []
    sizes: list[int] = []
    readv = os.readv

    def read(fd: int, rooms: list[memoryview]) -> int:
        sizes.append(len(rooms[0]))
        return readv(fd, rooms)

    monkeypatch.setattr(iterating.os, "readv", read)
    monkeypatch.setattr(iterating.time, "sleep", pauses.append)
    found = b"".join(map(bytes, iterating.received(reader, "closers", 400, 0.01)))
    os.close(reader)
    assert (len(found), set(sizes), pauses) == (1000, {400}, [0.01] * 3)
