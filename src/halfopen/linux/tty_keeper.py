"""A process that puts a terminal back in order after its owner ended without doing so: killed, or out of memory.

It is forked while the owner is small and has one thread, does nothing, and ends with the owner.
"""

from __future__ import annotations

import os
import signal
import termios
from typing import Any, Final

_INSIDE: Final = b"1"
_OUTSIDE: Final = b"0"


class TtyKeeper:
    """Watches over the terminal at `fd`. saved: its attributes before (`tcgetattr`); leave: what to write to it."""

    def __init__(self, fd: int, saved: list[Any], leave: bytes) -> None:
        """Raises: OSError where no process can be made."""
        ours, self._pipe = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(self._pipe)
                _keep(ours, fd, saved, leave)
            finally:
                os._exit(0)
        os.close(ours)

    def inside(self, inside: bool) -> None:
        """Whether the terminal is in the owner's state now, and not in the one before."""
        try:
            os.write(self._pipe, _INSIDE if inside else _OUTSIDE)
        except OSError:  # the keeper was killed: nothing is lost but a precaution
            pass

    def close(self) -> None:
        """The terminal is in order: the process is not needed any more."""
        self.inside(False)
        os.close(self._pipe)
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass


def _keep(pipe: int, fd: int, saved: list[Any], leave: bytes) -> None:
    # In a session of its own it gets no signal from the terminal, and none that is sent to the owner's process group.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    state = _OUTSIDE
    while told := os.read(pipe, 64):
        state = told[-1:]
    if state == _INSIDE:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
        os.write(fd, leave)
