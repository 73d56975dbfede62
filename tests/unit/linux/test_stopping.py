"""An event that is set from a signal handler, whatever that interrupts."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from halfopen.linux.stopping import StopEvent
from run import environment

# A signal at every step of a wait, those inside threading.py included; its handler sets the event.
_AT_EVERY_STEP = """
import signal, sys, threading
from halfopen.linux.stopping import StopEvent

def steps(after):
    event, left = StopEvent(), [after]

    def traced(frame, what, _):
        if what == "line":
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return traced

    signal.signal(signal.SIGUSR1, lambda *_: event.set())
    sys.settrace(traced)
    ended = event.wait(0.05)
    sys.settrace(None)
    return left[0] <= 0, ended, event.is_set()

after = 1
while (came := steps(after))[0]:
    assert came[2], after
    after += 1
print(after)
"""


def test_it_is_set_at_any_step_of_a_wait() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _AT_EVERY_STEP],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) > 4


def test_a_wait_ends_when_it_is_set() -> None:
    event = StopEvent()
    assert not event.wait(0.01)
    threading.Timer(0.05, event.set).start()
    began = time.monotonic()
    assert event.wait(60)
    assert time.monotonic() - began < 10
    assert event.wait(0)
    assert event.wait()
    event.set()
    assert event.is_set()
