"""Traffic in a thread: it ends when it is told to, and what went wrong is raised then."""

from __future__ import annotations

import threading

import pytest

from halfopen.core.errors import LabError
from halfopen.lab.background import Background


class Sending(Background):
    def __init__(self, wrong: LabError | None = None) -> None:
        super().__init__()
        self.wrong, self.sending = wrong, threading.Event()
        self._begin("test-sending")

    def _send(self) -> None:
        self.sending.set()
        if self.wrong is not None:
            raise self.wrong
        self._stop.wait()

    def stop(self) -> None:
        self._end()

    def wait(self, timeout: float | None = None) -> bool:
        return self._ended(timeout)


def test_it_sends_until_it_is_stopped() -> None:
    one = Sending()
    assert one.sending.wait(60)
    assert (one.running, one.wait(0.01)) == (True, False)
    one.stop()
    assert (one.running, one.wait(), one.failed) == (False, True, None)


def test_what_went_wrong_is_raised_when_it_is_stopped() -> None:
    wrong = LabError("the host is gone")
    one = Sending(wrong)
    assert one.wait()
    assert one.failed is wrong
    with pytest.raises(LabError, match="the host is gone"):
        one.stop()
