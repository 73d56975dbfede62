"""On a terminal: release asks, status is coloured and fits, and Ctrl-C ends things in order."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import halfopen as command
from run import one_line
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.lab import Lab


@pytest.mark.parametrize(
    ("typed", "left", "code"),
    [("y\n", 0, 0), ("YES\n", 0, 0), ("n\n", 12, 130), ("\n", 12, 130), ("\x03", 12, 130), ("\x04", 12, 130)],
)
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
        assert ("nothing was released" in t.text) == (left == 12)
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
    assert all(len(line) <= columns for line in plain)
    assert "120 half-open connections" in " ".join(plain[:2])
    # A command that is longer than the screen is one command still.
    at = max(i for i, line in enumerate(plain) if line.startswith("Next  "))
    assert all(line.endswith(" \\") for line in plain[at:-1])


def test_no_color(lab: Lab) -> None:
    with terminal("status", "--netns", lab.server.netns_path, NO_COLOR="1") as t:
        assert t.wait() == 0
    assert "\x1b[3" not in t.text


def test_an_answer_that_is_neither_is_asked_again(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 3).settled()
    with terminal("release", "--netns", lab.server.netns_path, "--all", "--audit-log", str(tmp_path / "a")) as t:
        until(lambda: t.read().count("[y/N]") == 1)
        t.answer("maybe\n")
        until(lambda: t.read().count("[y/N]") == 2)
        t.answer("y\n")
        assert t.wait() == 0
    assert lab.server.half_open() == 0


def test_the_question_is_not_in_the_output(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 3).settled()
    words = ("release", "--netns", lab.server.netns_path, "--all", "--json", "--audit-log", str(tmp_path / "a"))
    with (tmp_path / "out").open("w") as out, terminal(*words, stdout=out) as t:
        until(lambda: "[y/N]" in t.read())
        t.answer("y\n")
        assert t.wait() == 0
    assert (tmp_path / "out").read_text().startswith("{")


def test_a_long_look_says_how_far_it_is_and_leaves_nothing_behind(lab: Lab) -> None:
    lab.server.listen(8080)
    with terminal("handshakes", "--netns", lab.server.netns_path, "--for", "3s") as t:
        until(lambda: "watching handshakes: 1 s of 3 s" in t.read())
        assert t.wait() == 0
    # Erased: written over with spaces, and then the answer from the first column on.
    assert re.search(r"\r {20,}\r[^\n]*No handshake finished", t.text)


def test_a_long_look_says_nothing_in_a_pipe(lab: Lab) -> None:
    done = command("handshakes", "--netns", lab.server.netns_path, "--for", "2.1s")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("columns", [80, 140])
def test_no_word_is_broken_at_the_edge(lab: Lab, tmp_path: Path, columns: int) -> None:
    """Nothing that is printed is left to the terminal to break, but one word that is longer than the screen."""
    web = lab.server.listen(8080, address="::")
    lab.client.half_open(web, 120, family=6).settled()
    there = ("--netns", lab.server.netns_path)
    audit = str(tmp_path / "audit.jsonl")
    for words in (
        ("list", *there, "--limit", "3"),
        ("list", "--netns", "all", "--limit", "3"),
        ("watch", *there, "--count", "2", "--interval", "100ms", "--release-older-than", "1h", "--audit-log", audit),
        ("release", *there, "--all", "--dry-run"),
        ("release", *there, "--older-than", "1ms", "--yes", "--audit-log", audit),
        ("handshakes", *there, "--for", "200ms"),
        ("release-time", *there),
        ("doctor",),
    ):
        with terminal(*words, COLUMNS=str(columns), columns=columns) as t:
            assert t.wait() == 0, t.text
        plain = re.sub(r"\x1b\[[0-9;]*[mK]", "", t.text).replace("\r", "").splitlines()
        # What went wrong is one line, whatever the screen.
        plain = [line for line in plain if not line.startswith("halfopen: ")]
        assert all(len(line) <= columns or " " not in line.strip() for line in plain), (words, plain)


def test_an_error_is_broken_between_words() -> None:
    words = ("status", "--netns", "not-there")
    whole = one_line(command(*words), 3)
    with terminal(*words, COLUMNS="60", columns=60) as t:
        assert t.wait() == 3
    lines = t.text.replace("\r\n", "\n").rstrip("\n").split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert " ".join(line.strip() for line in lines) == whole
