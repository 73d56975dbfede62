"""A terminal that is closed, or an SSH connection that breaks, ends a guard in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from halfopen.cli import protect


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Ended(Exception):
    """The guard is over."""


class HungUp:
    """An executor whose guard loses its terminal."""

    def protect(self, action: Any, ns: Any, *, stop: threading.Event, **_: Any) -> Any:
        signal.raise_signal(signal.SIGHUP)
        raise Ended(stop.is_set())


def guard() -> bool:
    """Whether a guard that loses its terminal is told to stop."""
    with pytest.raises(Ended) as raised:
        protect._guard(None, None, HungUp(), False)  # type: ignore[arg-type]
    return bool(raised.value.args[0])


def test_a_closed_terminal_ends_a_guard_in_order() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert guard()


def test_under_nohup_a_guard_goes_on() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert not guard()
