"""Nothing is left of a lab, however the program or the command ends that made it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peers import until

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"


def _witness() -> Any:
    spec = importlib.util.spec_from_file_location("lab_witness", HERE / "lab_witness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Witness()


SCRIPT = """
import json, select, sys
from halfopen.lab import Lab
with Lab() as lab:
    web = lab.server.listen(0, backlog=20000, other_process=True)
    lab.client.flood(web, 1000, 60)
    lab.client.slow(web, 10, delay_s=30)
    other = lab.server.spawn(["sleep", "600"])
    print(json.dumps({
        "paths": [lab.server.netns_path, lab.client.netns_path],
        "children": [*web.pids, other.pid],
    }), flush=True)
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        pass  # never blocked for long: Python may lose a signal that comes as it blocks
    ENDING
"""


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SRC), **more}


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"  # what is left for init to collect


@pytest.mark.parametrize("end", ["SIGKILL", "SIGTERM", "SIGINT", "raise RuntimeError('on purpose')", "pass"])
def test_nothing_is_left_however_it_ends(end: str) -> None:
    script = SCRIPT.replace("ENDING", "pass" if end.startswith("SIG") else end)
    with (
        _witness() as witness,
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        made = json.loads(process.stdout.readline())
        for path in made["paths"]:
            witness.watch(path)
        assert witness.alive() == 2
        assert not any(_gone(pid) for pid in made["children"])
        if end.startswith("SIG"):
            process.send_signal(getattr(signal, end))
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(60)
        until(lambda: all(_gone(pid) for pid in made["children"]))
        # A namespace ends after its last process and takes its veth along, so this says it all.
        witness.wait_gone()


# --- the command


def _halfopen(*words: str) -> list[str]:
    return [sys.executable, "-m", "halfopen", *words]


def test_lab_command_runs_a_command_inside() -> None:
    show = "echo $HALFOPEN_NETNS; ss -Htan state syn-recv | wc -l; exit 7"
    done = subprocess.run(
        _halfopen("lab", "--half-open", "23", "--honest", "5", "--", "sh", "-c", show),
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=30,
        check=False,
    )
    path, count = done.stdout.split()
    assert (count, done.returncode) == ("23", 7)
    assert "23 half-open" in done.stderr
    assert "5 honest clients" in done.stderr
    told, look = done.stderr.splitlines()
    assert told.startswith("lab: ")
    assert look == f"Look  halfopen status --netns {path}"


def test_lab_command_finds_halfopen_by_its_name_where_it_is_not_on_the_path() -> None:
    done = subprocess.run(
        _halfopen("lab", "--half-open", "1", "--", "halfopen", "--version"),
        capture_output=True,
        text=True,
        env=_environment(PATH="/usr/sbin:/usr/bin:/sbin:/bin"),
        timeout=30,
        check=False,
    )
    assert (done.stdout.split()[:1], done.returncode) == (["halfopen"], 0), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_lab_command_ends_in_order_on_a_signal(number: signal.Signals) -> None:
    with (
        _witness() as witness,
        subprocess.Popen(
            _halfopen("lab", "--half-open", "1000", "--rate", "100", "--for", "60s"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        told, look = process.stdout.readline(), process.stdout.readline()
        assert told.startswith("lab: ")
        witness.watch(look.split("--netns ")[1].strip())
        process.send_signal(number)
        assert process.wait(60) == 130
        assert process.stderr.read().strip() == ""
        witness.wait_gone()
