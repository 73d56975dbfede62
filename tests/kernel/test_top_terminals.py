"""`halfopen top` on a terminal of its own, as ssh and tmux give it one: kinds of terminals, Ctrl-C, Ctrl-Z, the
connection cut.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from screens import screen
from terminal import Terminal, terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab

# The terminal controls the process, so that its keys are signals and its end is SIGHUP.
CONTROLLED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
REVERSED = re.compile(r"\x1b\[(?:\d+;)*7(?:;\d+)*m")


@contextmanager
def top(lab: Lab, **env: str) -> Iterator[Terminal]:
    start = (sys.executable, "-c", CONTROLLED, sys.executable, "-m", "halfopen")
    with terminal("top", "--netns", lab.server.netns_path, start=start, **env) as t:
        until(lambda: "LISTENER" in seen(t))
        yield t


def seen(t: Terminal) -> str:
    return "\n".join(screen(t.read(), 100, 40))


def processes(t: Terminal) -> list[Path]:
    """That of top, and the one that it forked to restore the terminal."""
    pid = t.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1
    return [Path(f"/proc/{one}") for one in (pid, *children)]


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "screen-256color"}, True),
        ({"TERM": "linux"}, True),
        ({"TERM": "vt100"}, False),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
    ],
)
def test_colours_only_where_the_terminal_has_them(lab: Lab, env: dict[str, str], coloured: bool) -> None:
    lab.client.half_open(lab.server.listen(8080), 60).settled()
    with top(lab, **env) as t:
        until(lambda: "60/128" in seen(t))
        assert bool(COLOUR.search(t.text)) is coloured
        # The bar of the queue is there in either case.
        assert REVERSED.search(t.text)
        t.answer("q")
        assert t.wait() == 0


def test_ctrl_c_ends_it_and_leaves_nothing(lab: Lab) -> None:
    lab.server.listen(8080)
    with top(lab) as t:
        mine = processes(t)
        t.answer("\x03")
        assert t.wait() == 0
        assert termios.tcgetattr(t.master)[3] & termios.ICANON
        assert t.text.rindex("\x1b[?1049l") > t.text.rindex("\x1b[?1049h")
        until(lambda: not any(one.exists() for one in mine))
    assert "Traceback" not in t.text


def test_ctrl_z_gives_the_terminal_back_and_the_screen_returns(lab: Lab) -> None:
    lab.server.listen(8080)
    with top(lab) as t:
        t.answer("\x1a")
        status = Path(f"/proc/{t.process.pid}/stat")
        until(lambda: status.read_text().rpartition(") ")[2].startswith("T"))
        assert termios.tcgetattr(t.master)[3] & termios.ICANON
        assert t.read().endswith("\x1b[?1049l")
        t.text = ""
        t.process.send_signal(signal.SIGCONT)
        until(lambda: "LISTENER" in seen(t))
        assert t.text.startswith("\x1b[?1049h")
        t.answer("q")
        assert t.wait() == 0


def test_a_cut_connection_ends_it_and_leaves_nothing(lab: Lab) -> None:
    lab.server.listen(8080)
    with top(lab) as t:
        mine = processes(t)
        os.close(t.master)
        # The block closes one as well.
        t.master = os.open(os.devnull, os.O_RDONLY)
        t.process.wait(60)
        until(lambda: not any(one.exists() for one in mine))
