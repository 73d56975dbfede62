"""The counts of namespaces that are gone are not kept, whatever became of their readings."""

from __future__ import annotations

import pytest

from halfopen.read import procfs
from halfopen.read.closing_counts import SocketCounter
from halfopen.read.probe import Draft
from rows import listener, sample


def test_of_namespaces_that_are_gone_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "socket_totals", lambda: (0, 0))
    counter, head = SocketCounter(), sample([], [listener()])
    for inode in range(1, 11):
        draft = Draft("auto", "bpf", head.listeners, None, (1.0, 1.0))
        assert counter.probe(inode).read(draft) is None
    counter.keep({3, 4})
    assert sorted(counter._last) == [3, 4]
