"""The entry point: imports nothing heavy, so that signals are taken care of before anything else goes on."""

from __future__ import annotations

import os
import sys

from halfopen.cli import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Run the command of the process's arguments and end the process with its exit code."""
    signals.begin()
    _open_standard_descriptors()
    try:
        from halfopen.cli.main import outcome
    except (OSError, MemoryError) as e:
        # Where the machine has no descriptors or no memory left, a traceback would tell of imports.
        why = os.strerror(e.errno or 0) if isinstance(e, OSError) else "not enough memory"
        sys.stderr.write(f"halfopen: the program cannot be loaded: {why}\n")
        os._exit(1)

    try:
        try:
            signals.run()
            code = outcome()
        finally:
            signals.over()
    except KeyboardInterrupt:
        signals.over()
        # Exit at once, without waiting for threads that are still in the kernel or in C: their results are not needed.
        os._exit(signals.INTERRUPTED)
    sys.exit(code)


def _open_standard_descriptors() -> None:
    """Put /dev/null where a standard descriptor is closed: the next file to be opened would take its place, and get
    what libraries print."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
