"""Work in one's own namespace needs no privilege and no thread; in another one it runs there, in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from halfopen.core.errors import NotPermitted
from halfopen.linux import netns


@pytest.fixture
def own() -> Iterator[int]:
    fd = netns.current().open()
    yield fd
    os.close(fd)


def refuse(fd: int) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_ones_own_namespace_is_not_entered(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_setns", refuse)
    assert netns.is_own(own)
    assert netns.run_in(own, threading.get_ident) == threading.get_ident()
    assert netns.current().run(threading.get_ident) == threading.get_ident()


def test_work_that_can_be_cancelled_has_a_thread_of_its_own(own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_setns", refuse)
    assert netns.run_in(own, threading.get_ident, lambda: None) != threading.get_ident()


def test_another_namespace_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "is_own", lambda fd: False)
    monkeypatch.setattr(netns, "_setns", refuse)
    with pytest.raises(NotPermitted, match="entering another network namespace is refused"):
        netns.current().run(lambda: None)


def test_trying_to_enter_asks_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netns, "_setns", refuse)
    with pytest.raises(NotPermitted):
        netns.try_to_enter()


def test_a_namespace_is_closed_after_use() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ZeroDivisionError):
        netns.current().run(lambda: 1 // 0)
    assert len(os.listdir("/proc/self/fd")) == before
