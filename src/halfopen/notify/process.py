"""A program run within a time: fed by its standard input, killed with all of its group at the end."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from halfopen.core.errors import Undelivered

_PIECE: Final = 64 * 1024
_KEPT: Final = 16 * 1024
_LOOK_S: Final = 0.05


class ProgramOutcome(Struct, frozen=True):
    """How a program ended: its exit code (negative: the signal), and the beginnings of what it wrote."""

    code: int
    output: bytes
    errors: bytes


def run(argv: Sequence[str], fed: bytes, environment: Mapping[str, str], within_s: float) -> ProgramOutcome:
    """Run a program, without a shell, in a session of its own. Raises: Undelivered where it cannot be started, or does
    not end in time.
    """
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        raise Undelivered(f"{argv[0]}: {getattr(e, 'strerror', None) or e}") from None
    with child:
        try:
            output, errors, ended = _converse(child, fed, time.monotonic() + within_s)
        finally:
            # The group lives as long as the program is not waited for; what it started goes with it.
            _kill(child.pid)
        code = child.wait()
    if not ended:
        raise Undelivered(f"{argv[0]}: did not end within {within_s:g} s, and was killed")
    return ProgramOutcome(code, output, errors)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # nobody is left; or only who became another user
        pass


def _converse(child: subprocess.Popen[bytes], fed: bytes, until: float) -> tuple[bytes, bytes, bool]:
    """Feed it and take its output until it has ended; what it wrote, and whether it ended in time.

    Its end counts, not that of its output: a process that it left behind may keep the pipes open.
    """
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise ValueError("a program without pipes")
    kept = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
    rest = memoryview(fed)
    with selectors.DefaultSelector() as selector:
        for pipe in (child.stdin, child.stdout, child.stderr):
            os.set_blocking(pipe.fileno(), False)
        selector.register(child.stdin, selectors.EVENT_WRITE)
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        ended = False
        while not ended and time.monotonic() < until:
            ended = _ended(child.pid)
            # After its end only what is there already.
            for key, _ in selector.select(0 if ended else _LOOK_S) if selector.get_map() else _pause():
                if key.fileobj is child.stdin:
                    rest = _feed(key.fd, rest)
                    if not rest:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                elif not _taken(key.fd, kept[key.fd]):
                    selector.unregister(key.fileobj)
    return bytes(kept[child.stdout.fileno()]), bytes(kept[child.stderr.fileno()]), ended


def _pause() -> list[tuple[selectors.SelectorKey, int]]:
    time.sleep(_LOOK_S)
    return []


def _ended(pid: int) -> bool:
    """Whether it has ended, leaving it to be waited for, so that its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[:_PIECE]) :]
    except BlockingIOError:
        return rest
    except OSError:  # it does not want to know
        return rest[:0]


def _taken(fd: int, kept: bytearray) -> bool:
    """Take what there is; False at the end. Beyond the first bytes it is thrown away."""
    try:
        piece = os.read(fd, _PIECE)
    except BlockingIOError:
        return True
    except OSError:
        return False
    kept += piece[: max(0, _KEPT - len(kept))]
    return bool(piece)
