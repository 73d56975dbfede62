"""The command line on a pseudo-terminal, answered by a test."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from run import Begun, begin, environment


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(
        self,
        words: tuple[str, ...],
        columns: int,
        env: dict[str, str],
        stdout: IO[str] | None,
        start: tuple[str, ...] = (),
    ) -> None:
        """start: the words before those of the command line; empty: this checkout's halfopen."""
        self.master, slave = pty.openpty()

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        ours = environment(TERM="xterm-256color") | env
        files = {"stdin": slave, "stdout": stdout or slave, "stderr": slave}
        self.process: Begun
        if start:
            self.process = subprocess.Popen([*start, *words], env=ours, start_new_session=True, **files)
        else:
            self.process = begin(*words, env=ours, start_new_session=True, **files)
        os.close(slave)
        self.text = ""
        # A read may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def read(self, seconds: float = 0.05) -> str:
        """Take in what came."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += self._decoder.decode(data)
        return self.text

    def answer(self, text: str) -> None:
        """Type."""
        os.write(self.master, text.encode())

    def wait(self) -> int:
        """The exit code, once everything was read."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        self.read()
        code = self.process.returncode
        assert code is not None
        return code


@contextmanager
def terminal(
    *words: str, columns: int = 100, stdout: IO[str] | None = None, start: tuple[str, ...] = (), **env: str
) -> Iterator[Terminal]:
    made = Terminal(words, columns, env, stdout, start)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        os.close(made.master)
