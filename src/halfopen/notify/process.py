"""Running a program with a time limit: input on its standard input, its process group killed at the end."""

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
    """Run a program without a shell, in a session of its own. Raises: Undelivered if it cannot be started, or does not
    end in time.
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
            # Before wait(): until then the process group still exists, so its other members can be killed as well.
            _kill(child.pid)
        code = child.wait()
    if not ended:
        raise Undelivered(f"{argv[0]}: did not end within {within_s:g} s, and was killed")
    return ProgramOutcome(code, output, errors)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # no process is left, or only ones that run as another user
        pass


def _converse(child: subprocess.Popen[bytes], fed: bytes, until: float) -> tuple[bytes, bytes, bool]:
    """Write its input and read its output until it has ended. Returns its output, and whether it ended in time.

    Waits for the end of the program, not of its output: a child that it left may keep the pipes open.
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
            # After its end, read only what is in the pipes already.
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
    """Whether it has ended. It is not reaped here, so that its PID is not reused."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[:_PIECE]) :]
    except BlockingIOError:
        return rest
    except OSError:  # it does not read its input
        return rest[:0]


def _taken(fd: int, kept: bytearray) -> bool:
    """Read what is available; False at the end. Output beyond the limit is discarded."""
    try:
        piece = os.read(fd, _PIECE)
    except BlockingIOError:
        return True
    except OSError:
        return False
    kept += piece[: max(0, _KEPT - len(kept))]
    return bool(piece)
