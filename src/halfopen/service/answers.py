"""Commands that the service runs for users who may not read the kernel's tables themselves.

Each is a process of its own, `halfopen COMMAND --direct`, with the privileges of the service, so it does not delay the
loop, and nothing of it remains. One runs at a time, with limits of time and output, and with pauses that keep them to a
share of the time. Users who ask the same in the meantime get the same answer.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Final

from msgspec import Struct, field

from halfopen.core.errors import HalfopenError
from halfopen.core.units import show_bytes
from halfopen.linux import threads
from halfopen.linux.own_code import python_path
from halfopen.linux.well_known import NOTIFY_SOCKET, WATCHDOG
from halfopen.present import terminal
from halfopen.present.language import CATALOGUES, ENGLISH

# A share of processor time.
_SHARE: Final = 0.2
_PATIENCE_S: Final = 30.0
_OUTPUT_MOST: Final = 8 * 1024 * 1024
_ERRORS_MOST: Final = 64 * 1024
_WAITING_MOST: Final = 16
_REMEMBERED: Final = 8
_PIECE: Final = 64 * 1024


class Wanted(Struct, frozen=True):
    """A command to run: its words, the width of the terminal (None: there is none), whether the terminal has colours,
    whether the user has the privileges that proposed commands need, and the language of texts.
    """

    words: tuple[str, ...]
    width: int | None = None
    colour: bool = False
    privileged: bool = False
    language: str = ENGLISH


class Answered(Struct, frozen=True):
    """The output of a command. errors: standard error. at: when it began (monotonic). used_s: processor time."""

    exit_code: int
    output: str
    errors: str
    at: float
    used_s: float


_Then = Callable[[Answered | HalfopenError], None]


class _Job(Struct):
    wanted: Wanted
    then: list[_Then]


class Answers(Struct):
    """Runs commands one after another, in a thread that is started with the first. run: the function that runs one."""

    share: float = _SHARE
    run: Callable[[Wanted], Answered] = field(default_factory=lambda: run)
    _jobs: deque[_Job] = field(default_factory=deque)
    _known: dict[Wanted, Answered] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _thread: threading.Thread | None = None
    _again_at: float = 0.0
    _ends: bool = False

    def ask(self, wanted: Wanted, then: _Then) -> None:
        """Call `then` with the answer, in another thread. Raises: HalfopenError if too many requests wait."""
        with self._changed:
            known = self._known.get(wanted)
            if known is None or time.monotonic() >= self._again_at:
                self._enqueue(wanted, then)
                return
        then(known)

    def _enqueue(self, wanted: Wanted, then: _Then) -> None:
        for job in self._jobs:
            if job.wanted == wanted:
                job.then.append(then)
                return
        if len(self._jobs) >= _WAITING_MOST:
            raise HalfopenError("busy", "the service has too much to answer", hint="ask again later, or use --direct")
        self._jobs.append(_Job(wanted, [then]))
        self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="halfopen-answers", daemon=True)
            threads.start(self._thread)

    def close(self) -> None:
        """Run no further commands."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._ends and (not self._jobs or time.monotonic() < self._again_at):
                    left = self._again_at - time.monotonic()
                    self._changed.wait(max(left, 0.01) if self._jobs else None)
                if self._ends:
                    return
                job = self._jobs[0]
            made: Answered | HalfopenError
            try:
                made = self.run(job.wanted)
            except HalfopenError as e:
                made = e
            with self._changed:
                self._jobs.popleft()
                if isinstance(made, Answered):
                    self._again_at = time.monotonic() + made.used_s * (1 / self.share - 1)
                    self._known[job.wanted] = made
                    while len(self._known) > _REMEMBERED:
                        del self._known[next(iter(self._known))]
            for then in job.then:
                then(made)


def run(wanted: Wanted, patience_s: float = _PATIENCE_S) -> Answered:
    """Run `halfopen` with these arguments, and wait for it. Raises: HalfopenError if it prints too much or
    takes too long.
    """
    env = {**os.environ, "PYTHONPATH": python_path(), "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    if wanted.language in CATALOGUES:
        # Whether or not that locale is installed here.
        env |= {"LC_ALL": f"{CATALOGUES[wanted.language]}.UTF-8", "LANGUAGE": wanted.language}
    for name in (NOTIFY_SOCKET, WATCHDOG, "NO_COLOR"):
        env.pop(name, None)
    if wanted.width is not None:
        env |= {terminal.WIDTH: str(wanted.width), "TERM": "xterm"}
    if not wanted.colour:
        env["NO_COLOR"] = "1"
    if not wanted.privileged:
        env[terminal.FOR_OTHERS] = "1"
    began, used = time.monotonic(), os.times()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "halfopen", *wanted.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd="/",
            start_new_session=True,
        )
    except OSError as e:
        raise HalfopenError("answer", f"the service cannot run halfopen: {e.strerror}") from None
    with process:
        try:
            output, errors = _read(process, began + patience_s)
            process.wait(timeout=max(0.1, began + patience_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise HalfopenError(
                "answer", f"no answer within {patience_s:.0f} s", hint="ask for less, or use --direct"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    now = os.times()
    spent = now.children_user + now.children_system - used.children_user - used.children_system
    return Answered(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"), began, spent)


def _read(process: subprocess.Popen[bytes], until_s: float) -> tuple[bytes, bytes]:
    """Standard output and error, each up to its limit. Raises: HalfopenError, subprocess.TimeoutExpired."""
    poll, open_ones = select.poll(), dict[int, tuple[IO[bytes], bytearray, int]]()
    outputs = (process.stdout, bytearray(), _OUTPUT_MOST), (process.stderr, bytearray(), _ERRORS_MOST)
    for stream, taken, most in outputs:
        if stream is not None:
            open_ones[stream.fileno()] = stream, taken, most
            poll.register(stream, select.POLLIN)
    while open_ones:
        left = until_s - time.monotonic()
        ready = poll.poll(max(0.0, left) * 1000)
        if not ready:
            raise subprocess.TimeoutExpired(process.args, 0)
        for fd, _ in ready:
            _, taken, most = open_ones[fd]
            piece = os.read(fd, _PIECE)
            taken += piece
            if not piece:
                poll.unregister(fd)
                del open_ones[fd]
            elif len(taken) > most:
                hint = "limit it (--limit), or use --direct"
                raise HalfopenError("answer", f"the answer is longer than {show_bytes(most)}", hint=hint)
    return bytes(outputs[0][1]), bytes(outputs[1][1])
