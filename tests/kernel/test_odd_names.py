"""Namespaces whose names are no text, or would be obeyed by a terminal: every command answers, and plainly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

# No UTF-8, escape sequences, a line of its own, a sequence in C1, and a mark that turns the direction of writing.
NAME = b"ho-\xff\xe9\x1b]0;title\x07\x1b[31mred\nOK\n\xc2\x9b31m" + "\u202e".encode()
COMMANDS = [
    ("status",),
    ("status", "--json"),
    ("check",),
    ("list",),
    ("list", "--format", "json"),
    ("list", "--format", "ndjson"),
    ("list", "--format", "csv"),
    ("release", "--all", "--dry-run"),
    ("release", "--all", "--yes", "--json"),
    ("watch", "--count", "2", "--interval", "50ms"),
    ("watch", "--count", "2", "--interval", "50ms", "--json"),
    ("release-time",),
    ("release-time", "--json"),
    ("tune", "show"),
    ("tune", "show", "--json"),
    ("tune", "apply", "--release-time", "7s", "--yes"),
    ("tune", "apply", "--release-time", "15s", "--yes", "--json"),
    ("tune", "listener", ":8080"),
    ("tune", "listener", ":8080", "--json"),
]
WITHOUT = [("tune", "log"), ("tune", "log", "--json"), ("tune", "undo", "--all")]
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")


@pytest.fixture
def named(lab: Lab, tmp_path: Path) -> bytes:
    """A path to the lab's server under an odd name."""
    web = lab.server.listen(8080)
    lab.client.half_open(web, 5).settled()
    path = os.fsencode(tmp_path) + b"/" + NAME
    os.symlink(os.fsencode(lab.server.netns_path), path)
    return path


def run(words: tuple[str | bytes, ...], audit: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "halfopen", *words],
        env=environment(HALFOPEN_AUDIT_LOG=str(audit), PYTHONIOENCODING="utf-8"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_every_command_takes_it_and_shows_nothing_that_a_terminal_obeys(named: bytes, tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    for words in [*((*c, "--netns", named) for c in COMMANDS), *WITHOUT, ("status", "--netns", named + b"-not")]:
        done = run(words, audit)
        assert done.returncode == (3 if named + b"-not" in words else 0), (words, done.stderr)
        for said in (done.stdout, done.stderr):
            assert OBEYED.search(said.decode()) is None, (words, said)
            assert not re.search(rb"^OK$", said, re.MULTILINE), (words, said)
        assert b"Traceback" not in done.stderr
        if "--json" in words:
            lines = done.stdout.splitlines() if words[0] == "watch" else [done.stdout]
            for line in lines:
                json.loads(line)
    # Every record can be read, and says which namespace was meant; an undo as the journal has it, which is valid UTF-8.
    told = os.fsdecode(named)
    journalled = told.encode("utf-8", "backslashreplace").decode()
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {record["netns"] for record in records if record["action"] == "undo"} == {journalled}
    assert {record["netns"] for record in records if record["action"] != "undo"} == {told}
