"""The live screen on a pseudo-terminal: a release by its keys, another size, the terminal as it was afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import halfopen as command
from run import one_line
from screens import screen
from terminal import Terminal, terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab

LEFT = "\x1b[?1049l"


def seen(t: Terminal, columns: int = 100, rows: int = 40) -> str:
    return "\n".join(screen(t.read(), columns, rows))


def press(t: Terminal, key: str, then: str) -> None:
    """Press a key and wait for what it brings."""
    t.answer(key)
    until(lambda: then in seen(t))


def test_a_release_by_keys(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 60).settled()
    audit = tmp_path / "audit.jsonl"
    with terminal("top", "--netns", lab.server.netns_path, "--audit-log", str(audit), "--reason", "a test") as t:
        before = termios.tcgetattr(t.master)
        until(lambda: "60 half-open connections" in seen(t))
        assert not termios.tcgetattr(t.master)[3] & termios.ICANON
        t.answer("r")
        # The first age may find all of them, some, or none: they are seconds old.
        until(lambda: "older than 3 s, on :8080)" in seen(t))
        assert lab.server.half_open() == 60
        press(t, "n", "Nothing was changed")
        assert not audit.exists()
        press(t, "r", "older than 3 s, on :8080)")
        press(t, "a", "older than 10 s, on :8080)")
        press(t, "a", "older than 30 s, on :8080)")
        press(t, "a", "Release 60 half-open connections (on :8080)?")
        press(t, "y", "60 half-open connections released (on :8080)")
        assert lab.server.half_open() == 0
        begin, done = (json.loads(line) for line in audit.read_text().splitlines())
        assert (begin["phase"], begin["reason"], begin["arguments"]) == ("begin", "a test", "--listener :8080")
        assert (done["phase"], done["released"]) == ("done", 60)

        # Another size: the whole screen anew, and nothing beyond its edge.
        fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("HHHH", 15, 60, 0, 0))
        t.text = ""
        t.process.send_signal(signal.SIGWINCH)
        until(lambda: screen(t.read(), 60, 15)[-1].endswith("q quit"))
        assert screen(t.read(), 60, 15)[0].startswith("halfopen top")
        fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 50, 0, 0))
        t.process.send_signal(signal.SIGWINCH)
        until(lambda: "too small" in screen(t.read(), 50, 10)[0])

        t.answer("q")
        assert t.wait() == 0
        assert LEFT in t.text
        assert t.text.rindex(LEFT) > t.text.rindex("\x1b[?2026l")
        assert termios.tcgetattr(t.master) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_as_it_was_whatever_ends_it(lab: Lab, number: int) -> None:
    lab.server.listen(8080)
    with terminal("top", "--netns", lab.server.netns_path) as t:
        before = termios.tcgetattr(t.master)
        until(lambda: ":8080" in seen(t))
        assert termios.tcgetattr(t.master) != before
        t.process.send_signal(number)
        t.process.wait(60)
        until(lambda: termios.tcgetattr(t.master) == before)
        until(lambda: LEFT in t.read())
        assert "Traceback" not in t.text


def test_what_is_no_terminal_is_told_so_in_one_line(lab: Lab) -> None:
    assert "needs a terminal" in one_line(command("top", "--netns", lab.server.netns_path), 2)
    with terminal("top", TERM="dumb") as t:
        assert t.wait() == 2
    assert "TERM is 'dumb'" in t.text
    assert "\x1b[" not in t.text


def test_a_namespace_that_is_not_there_leaves_the_terminal_alone() -> None:
    with terminal("top", "--netns", f"not-there-{os.getpid()}") as t:
        assert t.wait() == 3
    assert t.text.rstrip().endswith("shows those that exist")
