"""The benchmark itself, with tiny numbers: every row is there, and every reader reports the same number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from run import environment

RUN = Path(__file__).parents[2] / "bench" / "run.py"
READERS = [
    *("floor", "bytes_of_census", "census", "bytes_of_iterator", "snapshot", "snapshot_diag"),
    *("status", "two_looks", "ss", "proc", "netstat", "psutil", "pyroute2"),
]
# What may be missing where the tests run: peers that only `make bench` installs.
OPTIONAL = {"netstat", "psutil", "pyroute2"}
TINY = [
    *("--quick", "--rounds", "1", "--release", "500", "--starts", "1", "--syns", "2000"),
    *("--slow", "300", "--listeners", "5", "--handshake-rounds", "1", "--beside", "500"),
    *("--descriptors", "2000", "--namespaces", "5", "--watch-seconds", "0.3"),
]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(RUN), *words], env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def measured(file: Path, *words: str) -> dict[str, Any]:
    """The JSON of a run, and as `text` what it printed."""
    done = bench(*words, "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    report: dict[str, Any] = json.loads(file.read_text())
    return {**report, "text": done.stdout}


def tiny(file: Path, *parts: str) -> dict[str, Any]:
    """The JSON of a run of some parts, with tiny numbers."""
    words = [word for part in parts for word in ("--only", part)]
    report = measured(file, *TINY, *words, "--counts", "0,500")
    assert report["schema"] == "halfopen.bench/1"
    return report


def targets(report: dict[str, Any]) -> dict[str, Any]:
    return {target["name"]: target["met"] for target in report["targets"]}


@pytest.mark.slow
def test_all_readers_agree(tmp_path: Path) -> None:
    report = tiny(tmp_path / "bench.json", "read", "pulse")
    assert [reading["half_open"] for reading in report["readings"]] == [0, 500]
    for reading in report["readings"]:
        assert reading["agreed"]
        assert [row["name"] for row in reading["rows"]] == READERS
        for row in reading["rows"]:
            assert not row["missing"] or row["name"] in OPTIONAL, row
            if not row["missing"]:
                assert row["said"] == reading["half_open"], row
                assert row["median_s"] > 0
                assert row["rss_bytes"] > 1_000_000
        assert f"Reading {reading['half_open']:,} half-open connections" in report["text"]
    assert report["eyes"]["agreed"]
    # A figure of a small set is shown, and judged by nobody.
    assert targets(report)["at 500: snapshot / floor"] is None


@pytest.mark.slow
def test_all_rows_of_a_release_are_there(tmp_path: Path) -> None:
    report = tiny(tmp_path / "bench.json", "release", "adversary", "waiting")
    [ours] = report["releasing"]["ours"]
    assert ours["left"] == 0
    assert ours["released"] >= 500
    assert (ours["before_alive"], ours["during_alive"]) == (ours["before"], ours["during"])
    assert ours["resets"] == 0
    assert ours["window_ms"] == 0  # the door was held
    assert report["releasing"]["narrow"][0]["window_ms"] > 0
    assert sum(run["resets"] for run in report["adversary"]["runs"]["halfopen, door held"]) == 0
    assert not report["adversary"]["not_elsewhere"]
    [table] = report["releasing"]["table"]
    assert (table["left"], table["resets"], table["window_ms"]) == (0, 0, 0)
    [theirs] = report["releasing"]["ss"]
    assert theirs["left"] == 0
    waiting = report["waiting"]
    assert not waiting["missing"]
    assert len(waiting["late_s"]) == 9
    assert all(len(late) > 5 for late in waiting["late_s"].values())
    met = targets(report)
    assert met["half-open connections left"] is True
    assert met["honest connections lost"] is True
    assert met["released a second, door held"] is None


@pytest.mark.slow
def test_all_rows_of_what_it_costs_are_there(tmp_path: Path) -> None:
    report = tiny(tmp_path / "bench.json", "start", "handshakes", "owners", "namespaces", "idle", "lab")
    assert report["owners"]["beside"] >= 2000
    assert all(seconds > 0 for runs in report["owners"]["runs_s"].values() for seconds in runs)
    assert report["namespaces"]["beside"] == 5
    shares = [(n, metrics) for n, metrics, _ in report["idle"]["shares"]]
    assert shares == [(1, False), (1, True), (5, False), (5, True)]
    assert [start["name"] for start in report["starts"]] == ["python", "numpy", "help", "status"]
    assert len(report["lab_rates"]) == 1


@pytest.mark.slow
@pytest.mark.root
def test_nobody_who_finished_is_hit_in_any_setting_and_the_counters_would_show_it(tmp_path: Path) -> None:
    result = measured(tmp_path / "bench.json", "--quick", "--only", "scenes", "--slow", "500")["scenes"]
    assert not result["missing"]
    assert len(result["runs"]) == 5
    for name, runs in result["runs"].items():
        assert {"halfopen", "halfopen, without eBPF"} <= set(runs)
        for way, run in runs.items():
            if way == "ss -K":
                continue
            assert (run["resets"], run["destroyed"], run["held"]) == (0, 0, True), (name, way, run)
            # On a busy machine some send their SYN again, and may be released twice.
            assert abs(run["missed"]) <= run["clients"] / 10, (name, way, run)
    # Requests that had been answered: ss kills each that it sees.
    for name in ("TCP_DEFER_ACCEPT", "accept queue overflows"):
        assert result["runs"][name]["ss -K"]["destroyed"] > 0


@pytest.mark.slow
@pytest.mark.root
def test_releases_under_a_flood_and_by_one_command(tmp_path: Path) -> None:
    words = ["--quick", "--only", "flood", "--only", "million", "--flood", "1000", "--million", "2000"]
    report = measured(tmp_path / "bench.json", *words)
    [flooded] = report["flooded"]["runs"]
    assert flooded["released"] > 0
    assert flooded["held"]
    assert report["flooded"]["readings"] >= 1
    [whole] = report["whole"]["runs"]
    assert (whole["released"], whole["left"], whole["held"]) == (2000, 0, True)
    assert [target["met"] for target in report["targets"]] == [None] * 3


@pytest.mark.parametrize("words", [["--counts", "x"], ["--counts", "-1"], ["--rounds", "0"], ["--only", "nothing"]])
def test_wrong_words_are_refused(words: list[str]) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not done.stdout


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def _ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_interrupted_it_leaves_no_process_and_one_line() -> None:
    words = [sys.executable, str(RUN), "--only", "read", "--counts", "20000"]
    with subprocess.Popen(
        words, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as bench:
        assert bench.stderr is not None
        assert bench.stderr.readline().startswith("reading 20,000")
        deadline = time.monotonic() + 60
        while not (children := _children(bench.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(bench.pid, signal.SIGINT)
        rest = bench.stderr.read()
        assert bench.wait(60) == 130
    assert rest.splitlines()[-1].startswith("bench: interrupted")
    assert "Traceback" not in rest
    while not all(_ended(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)
