"""`halfopen check`: the exit codes of a monitoring plugin, true of the kernel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from halfopen.read import procfs
from peers import until
from run import halfopen as command
from run import started

if TYPE_CHECKING:
    import subprocess

    from halfopen.lab import Lab


def said(done: subprocess.CompletedProcess[str], state: str, code: int) -> dict[str, str]:
    """The performance data of a check that came to this state, by label."""
    [line] = done.stdout.splitlines()
    assert line.startswith(f"HALFOPEN {state} - "), line
    assert (done.returncode, done.stderr) == (code, "")
    _, _, data = line.partition(" | ")
    return {label: rest.partition(";")[0] for label, _, rest in (word.partition("=") for word in data.split())}


def test_a_healthy_server_is_ok_and_a_stopped_program_is_critical() -> None:
    for scene, state, code in (("busy", "OK", 0), ("app-stopped", "CRITICAL", 2)):
        lab = ("lab", "--scene", scene, "--", sys.executable, "-m", "halfopen", "check")
        done = started(*lab)
        [line] = done.stdout.splitlines()
        assert line.startswith(f"HALFOPEN {state} - "), (scene, line)
        assert done.returncode == code
    assert "is stopped" in line


def test_thresholds_on_what_the_kernel_holds(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300)
    lab.settle(300)
    netns = ("--netns", lab.server.netns_path)
    data = said(command("check", *netns, "-w", "300", "-c", "1000"), "OK", 0)
    assert data["half_open"] == "300"
    assert 0 < float(data["oldest"].removesuffix("s")) < 60
    assert data["drops_per_s"] == "0"
    said(command("check", *netns, "-w", "299", "-c", "1000"), "WARNING", 1)
    said(command("check", *netns, "-w", "100", "-c", "half_open=299"), "CRITICAL", 2)
    said(command("check", *netns, "-c", "oldest=0"), "CRITICAL", 2)
    said(command("check", *netns, "-w", "drops_per_s=0"), "OK", 0)


def test_drops_are_counted_where_nothing_waits(lab: Lab) -> None:
    """One look is enough at a quiet namespace; the counters are read a second time all the same."""
    lab.server.listen(8080)
    assert said(command("check", "--netns", lab.server.netns_path), "OK", 0)["drops_per_s"] == "0"


def test_syns_that_are_dropped_while_nothing_waits_are_told(lab: Lab) -> None:
    """The first look shows an idle host: only what the counters gain afterwards tells that clients are turned away."""
    web = lab.server.listen(8080)
    assert not lab.server.set_up(["ip", "route", "replace", "blackhole", "198.18.0.0/15"]).returncode
    lab.client.flood(web, 200, 20.0)
    until(lambda: lab.server.run(procfs.counters).get("ListenDrops", 0) > 20)
    done = command("check", "--netns", lab.server.netns_path)
    assert float(said(done, "WARNING", 1)["drops_per_s"]) > 20
    assert "no route back" in done.stdout or "SYNs are dropped although no queue is full" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("--netns", "no-such-namespace"),
        ("--netns", "pid:0"),
        ("-w", "ten"),
        ("-w", "age=1"),
        ("--bogus",),
        ("-w",),
        ("--read-by", "magic"),
        ("surplus",),
    ],
)
def test_what_cannot_be_done_is_unknown_and_never_a_warning(words: tuple[str, ...]) -> None:
    assert said(command("check", *words), "UNKNOWN", 3) == {}


def test_a_reading_that_is_not_whole_is_unknown_unless_what_is_seen_is_worse(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=4096)
    words = ("check", "--netns", lab.server.netns_path, "--read-by", "proc")
    said(command(*words), "UNKNOWN", 3)
    lab.client.half_open(web, 300)
    lab.settle(300)
    said(command(*words, "-c", "200"), "CRITICAL", 2)


def test_help_is_no_check() -> None:
    done = command("check", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
