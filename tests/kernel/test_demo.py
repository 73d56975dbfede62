"""`make demo`: the flood does harm, the cure undoes it, and the table at the end says both."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import capabilities
import readable
from run import environment

DEMO = ("-m", "halfopen.cli.demo")
CELLS = re.compile(r"  +")


def begin(words: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def is_root_of_the_machine() -> bool:
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def table(out: str) -> dict[str, list[str]]:
    """The rows of the table at the end, by their titles."""
    rows = [CELLS.split(line) for line in out.partition("# Before and after")[2].splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) == 5}


@pytest.mark.slow
def test_new_clients_are_turned_away_then_let_in() -> None:
    running = [begin([sys.executable, *DEMO], environment())]
    if is_root_of_the_machine():
        # At the same time as another user, in a user namespace.
        words = [*capabilities.setpriv(), readable.python(starts_others=True), *DEMO]
        running.append(begin(words, capabilities.environment_of_nobody()))
    try:
        ended = [(process.communicate(timeout=240)[0], process.returncode) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    for out, code in ended:
        if "gives an unprivileged user no network namespace" in out:
            continue
        assert code == 0, out
        assert re.search(r"^ended {7}\d", out, re.MULTILINE), "the incident, as the watch kept it"
        rows = table(out)
        assert rows[""] == ["quiet", "flooded", "cured", "released"]
        quiet, flooded, cured, released = (int(cell.split()[0]) for cell in rows["new clients in within 3 s"])
        assert flooded <= 10 < quiet == cured == released == 20
        assert rows["half-open connections"][0] == rows["half-open connections"][3] == "0"
        assert rows["clients from before, alive"] == ["20 of 20"] * 4
        for words in ("SYN cookies are off", "tune apply --netns NETNS --cookies on", "ALARM", "CLEAR"):
            assert words in out
