"""On a terminal: release asks, status is coloured and fits, and Ctrl-C ends things in order."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, words: tuple[str, ...], columns: int, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "halfopen", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment(TERM="xterm-256color"), **env},
            start_new_session=True,
        )
        os.close(slave)
        self.text = ""

    def read(self, seconds: float = 0.05) -> str:
        """Take in what came."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += data.decode()
        return self.text

    def answer(self, text: str) -> None:
        """Type."""
        os.write(self.master, text.encode())

    def wait(self) -> int:
        """The exit code, once everything was read."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.read()
        self.read()
        return self.process.returncode


@contextmanager
def terminal(*words: str, columns: int = 100, **env: str) -> Iterator[Terminal]:
    made = Terminal(words, columns, env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        os.close(made.master)


@pytest.mark.parametrize(("typed", "left", "code"), [("y\n", 0, 0), ("n\n", 12, 1), ("\n", 12, 1), ("\x03", 12, 130)])
def test_release_asks(lab: Lab, tmp_path: Path, typed: str, left: int, code: int) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 12).settled()
    audit = str(tmp_path / "audit.jsonl")
    with terminal("release", "--netns", lab.server.netns_path, "--all", "--audit-log", audit) as t:
        until(lambda: "[y/N]" in t.read())
        assert "Release 12 half-open connections (all)?" in t.text
        assert lab.server.half_open() == 12
        if typed == "\x03":
            t.process.send_signal(signal.SIGINT)
        else:
            t.answer(typed)
        assert t.wait() == code
    assert lab.server.half_open() == left
    assert os.path.exists(audit) == (left == 0)


@pytest.mark.parametrize("columns", [80, 140])
def test_status_fits_the_terminal(lab: Lab, columns: int) -> None:
    web = lab.server.listen(8080, address="::")
    lab.client.half_open(web, 120, family=6).settled()
    with terminal("status", "--netns", lab.server.netns_path, COLUMNS=str(columns), columns=columns) as t:
        assert t.wait() == 0
    assert "\x1b[" in t.text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", t.text).replace("\r", "").splitlines()
    # Commands to paste are never broken; everything else fits.
    assert all(len(line) <= columns for line in plain if not line.startswith(("Next", "Also")))
    assert "120 half-open connections" in " ".join(plain[:2])
    assert plain[-1].startswith("Next  ")


def test_no_color(lab: Lab) -> None:
    with terminal("status", "--netns", lab.server.netns_path, NO_COLOR="1") as t:
        assert t.wait() == 0
    assert "\x1b[3" not in t.text
