"""A process that restores the terminal if its owner ends without doing so: killed, or out of memory.

It is forked while the owner is small and has one thread, only waits, and ends with the owner.
"""

from __future__ import annotations

import os
import signal
import termios
from typing import Any, Final

_INSIDE: Final = b"1"
_OUTSIDE: Final = b"0"


class TtyKeeper:
    """Restores the terminal at `fd`. saved: its original attributes (`tcgetattr`). leave: the bytes to write to it."""

    def __init__(self, fd: int, saved: list[Any], leave: bytes) -> None:
        """Raises: OSError if no process can be created."""
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
        """Tell the keeper whether the terminal is in the owner's state, and so has to be restored."""
        try:
            os.write(self._pipe, _INSIDE if inside else _OUTSIDE)
        except OSError:  # the keeper was killed: only a precaution is lost
            pass

    def close(self) -> None:
        """End the process: the terminal has been restored."""
        self.inside(False)
        os.close(self._pipe)
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass


def _keep(pipe: int, fd: int, saved: list[Any], leave: bytes) -> None:
    # A session of its own, so that it gets no signals from the terminal or for the owner's process group.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    state = _OUTSIDE
    while told := os.read(pipe, 64):
        state = told[-1:]
    if state == _INSIDE:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
        os.write(fd, leave)
