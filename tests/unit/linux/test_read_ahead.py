"""Receiving ahead, and what is imported meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from halfopen.linux import read_ahead

_MODULE = "halfopen.core.check"


@pytest.fixture
def not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, _MODULE, raising=False)
    monkeypatch.setattr(read_ahead, "_wanted", [])


def _pieces(n: int) -> Iterator[memoryview]:
    for i in range(n):
        yield memoryview(bytes([i]))


def _joined() -> None:
    for thread in threading.enumerate():
        if thread.name == "halfopen-import":
            thread.join(10)


def test_what_is_wanted_is_imported_during_a_reading(not_imported: None) -> None:
    read_ahead.import_meanwhile("halfopen.no_such_module", _MODULE)
    assert _MODULE not in sys.modules
    assert [bytes(piece) for piece in read_ahead.read_ahead(_pieces(3))] == [b"\0", b"\1", b"\2"]
    _joined()
    assert _MODULE in sys.modules


def test_where_no_thread_is_to_be_had_the_reading_goes_on(not_imported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    read_ahead.import_meanwhile(_MODULE)
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert len(list(read_ahead.read_ahead(_pieces(3)))) == 3
    assert _MODULE not in sys.modules
