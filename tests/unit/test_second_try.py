"""A test that fails beside others is tried again, at last alone: that try counts, and the run names the test."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

# Each runs a few tests of its own in further processes.
pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).resolve().parents[1] / "support"
CONFTEST = """
import second_try

def pytest_configure(config):
    config.addinivalue_line("markers", "kernel:")
    config.addinivalue_line("markers", "xdist_group(name):")
    config.pluginmanager.register(second_try)
"""
TRIES = """
import os, pathlib, pytest, time

HERE = pathlib.Path(__file__).parent

def tries(name):
    with open(HERE / name, "a") as file:
        file.write(f"{os.getpid()} {os.environ.get('PYTEST_XDIST_WORKER', '-')}\\n")
    return len((HERE / name).read_text().splitlines())
"""
ONE, WORKERS = ["-n0"], ["-n2", "--dist", "loadgroup"]


def begin(where: Path, source: str, *words: str, off: str = "") -> subprocess.Popen[str]:
    (where / "conftest.py").write_text(CONFTEST)
    (where / "pytest.ini").write_text("[pytest]\naddopts = -ra -p xdist -p no:cacheprovider\n")
    (where / "test_inner.py").write_text(TRIES + textwrap.dedent(source))
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "COLUMNS": "300", "HALFOPEN_NO_SECOND_TRY": off}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what is not needed here
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", *(words or ONE)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=where)


def run(where: Path, source: str, *words: str, off: str = "") -> tuple[int, str]:
    """The exit code of a run, and what it said."""
    with begin(where, source, *words, off=off) as running:
        said = running.communicate(timeout=120)[0]
    return running.returncode, said


def closing(said: str) -> str:
    """The counts of the last line."""
    line = said.strip().splitlines()[-1]
    match = re.fullmatch(r"=+ (.*) in [0-9.]+s.* =+", line)
    assert match, said
    return match[1]


@pytest.mark.parametrize("beside", [ONE, WORKERS], ids=["one process", "workers"])
def test_what_passes_alone_has_passed_and_is_named_and_what_fails_alone_has_failed(
    tmp_path: Path, beside: list[str]
) -> None:
    source = """
        @pytest.mark.kernel
        @pytest.mark.parametrize("way", ["a@b", "c::d"])
        @pytest.mark.xdist_group("some")
        def test_kernel(way):
            assert tries("kernel " + way) == 3, "too busy"

        def test_unit():
            assert tries("unit") == 2

        @pytest.fixture
        def bad():
            assert tries("fixture") == 2, "not yet"

        def test_setup(bad): pass

        @pytest.fixture
        def sloppy():
            yield
            assert tries("after") == 2, "not over"

        def test_teardown(sloppy): pass

        @pytest.mark.kernel
        def test_wrong():
            assert tries("wrong") < 0, "try %d" % tries("more")

        @pytest.fixture
        def never():
            yield
            assert False, "never over"

        def test_never(never): pass

        def test_fine(): pass
    """
    code, said = run(tmp_path, source, *beside, "--junitxml=junit.xml")
    assert (code, closing(said)) == (1, "1 failed, 7 passed, 1 error"), said
    assert re.search("^=+ 7 failed: tried alone now", said, re.M)
    group = "@some" if beside is WORKERS else ""
    for name, why in [
        (f"third try: test_inner.py::test_kernel[a@b]{group}", "too busy"),
        (f"third try: test_inner.py::test_kernel[c::d]{group}", "too busy"),
        ("second try: test_inner.py::test_unit", "assert 1 == 2"),
        ("second try: test_inner.py::test_setup", "not yet"),
        ("second try: test_inner.py::test_teardown", "not over"),
    ]:
        assert re.search(rf"^passed alone at the {re.escape(name)}: .*{why}", said, re.M), said
    assert len(re.findall("^passed ", said, re.M)) == 5
    assert re.findall("^(?:FAILED|ERROR) .*", said, re.M) == [
        "ERROR test_inner.py::test_never - AssertionError: never over",
        "FAILED test_inner.py::test_wrong - AssertionError: try 3",
    ]
    assert said.count("def test_wrong():") == 1  # one traceback, of the last try
    # The last try is in a process without workers, one for all.
    last = {(tmp_path / name).read_text().splitlines()[-1] for name in ("kernel a@b", "unit", "fixture", "wrong")}
    assert len(last) == 1
    assert last.pop().endswith(" -")
    text = (tmp_path / "junit.xml").read_text()
    assert 'errors="1" failures="1" skipped="0"' in text
    assert len(set(re.findall('<testcase[^>]* name="([^"]*)"', text))) == text.count("<testcase ") == 8


def test_what_passes_at_last_passes_the_run(tmp_path: Path) -> None:
    source = """
        @pytest.mark.kernel
        def test_kernel():
            assert tries("kernel") == 2, "too busy"

        def test_unit():
            assert tries("unit") == 2
    """
    code, said = run(tmp_path, source, "-n1")
    assert (code, closing(said)) == (0, "2 passed"), said
    assert re.search("^passed at the second try: test_inner.py::test_kernel: AssertionError: too busy", said, re.M)
    assert re.search("^passed alone at the second try: test_inner.py::test_unit: ", said, re.M)


def test_of_many_failures_none_is_tried_alone(tmp_path: Path) -> None:
    source = """
        @pytest.mark.parametrize("n", range(16))
        def test_unit(n):
            assert tries(str(n)) == 2
    """
    code, said = run(tmp_path, source)
    assert (code, closing(said)) == (1, "16 failed"), said
    assert "16 tests failed; none was tried alone, as they are more than 15" in said
    assert said.count("FAILED test_inner.py::test_unit[") == 16


def test_where_the_last_try_ends_in_the_middle_the_rest_has_failed(tmp_path: Path) -> None:
    source = """
        def test_a():
            assert tries("a") == 2

        def test_b():
            if tries("b") == 2:
                os.write(2, b"good night")
                os._exit(3)
            assert False

        def test_c():
            assert tries("c") == 2
    """
    code, said = run(tmp_path, source)
    assert (code, closing(said)) == (1, "2 failed, 1 passed"), said
    assert "2 of them could not be tried alone within" in said
    assert {"test_inner.py::test_b", "test_inner.py::test_c"} <= set(said.splitlines())


def test_a_worker_that_ends_fails_the_run(tmp_path: Path) -> None:
    source = """
        def test_a():
            if tries("a") == 1:
                os._exit(3)
    """
    code, said = run(tmp_path, source, "-n1")
    assert (code, closing(said)) == (1, "1 failed"), said


@pytest.mark.parametrize(("words", "off"), [(["-n0", "-x"], ""), (["-n0"], "1")], ids=["exitfirst", "switched off"])
def test_where_it_is_not_wanted_the_first_failure_counts(tmp_path: Path, words: list[str], off: str) -> None:
    source = """
        @pytest.mark.parametrize("n", range(2))
        def test_unit(n):
            assert tries(str(n)) == 2
    """
    code, said = run(tmp_path, source, *words, off=off)
    assert (code, closing(said)) == (1, "2 failed" if off else "1 failed"), said


def test_interrupted_it_says_what_had_failed(tmp_path: Path) -> None:
    source = """
        def test_a():
            assert tries("a") == 2

        def test_b():
            (HERE / "there").touch()
            time.sleep(60)
    """
    with begin(tmp_path, source) as running:
        deadline = time.monotonic() + 60
        while not (tmp_path / "there").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[0]
    assert running.returncode == 2
    assert "FAILED test_inner.py::test_a" in said
    assert closing(said).startswith("1 failed")
