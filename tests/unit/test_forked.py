"""Commands that tests fork say and do what commands that are started do."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import forked
from run import begin, environment, halfopen, started, told


def forker() -> forked.Forker:
    found = forked.forker(environment())
    assert found is not None
    return found


# Every command is started somewhere: these here, the others in tests of the kernel (test_signals, for one).
@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("--version",),
        ("bogus",),
        ("block",),
        ("check", "--help"),
        ("history", "--file", "/nonexistent/h"),
        ("memory", "--bogus"),
        ("notify", "test", "--config", "/nonexistent/c"),
        ("protect", "status", "--json"),
        ("report", "--file", "/nonexistent/h"),
        ("unblock",),
    ],
    ids=lambda words: words[0],
)
def test_the_same_is_said(words: tuple[str, ...]) -> None:
    one, other = forker().run(words, environment()), started(*words)
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


@pytest.mark.parametrize(
    "words", [("bogus",), ("list", "--sort", "sorce"), ("status", "--netns", "/etc/hostname"), ("tune", "show", "-h")]
)
def test_the_same_is_told_in_this_process(words: tuple[str, ...]) -> None:
    one, other = told(*words), halfopen(*words)
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)


def test_several_threads_fork_at_once() -> None:
    forker()
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda word: halfopen(word), [f"bogus-{n}" for n in range(12)]))
    assert [f"'bogus-{n}'" in one.stderr for n, one in enumerate(said)] == [True] * 12
    assert {one.returncode for one in said} == {2}


def test_what_a_command_is_given_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment, directory and umask, and files as its output."""
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o077)
    try:
        words = ("watch", "--count", "1", "--interval", "50ms", "--metrics-file", "here.prom")
        with open("out", "w") as out, begin(*words, env=environment(COLUMNS="60"), stdout=out) as running:
            assert running.wait(60) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "here.prom").exists()
    assert "half-open" in (tmp_path / "out").read_text()


def test_signals_reach_it() -> None:
    for send, code in ((lambda one: one.terminate(), 0), (lambda one: one.kill(), -signal.SIGKILL)):
        words = ("watch", "--interval", "50ms", "--json")
        with begin(*words, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
            assert isinstance(running, forked.Forked)
            assert running.stdout is not None
            assert '"event":"begin"' in running.stdout.readline()
            assert os.getsid(running.pid) == running.pid
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.01)
            send(running)
            rest, error = running.communicate(timeout=60)
            assert (running.returncode, error) == (code, None)
            assert code or '"event":"end"' in rest


def test_where_it_cannot_be_handed_over_a_command_is_started() -> None:
    assert forked.forker(environment(LC_ALL="C")) is None
    assert forked.forker(environment(TZ="Asia/Tokyo")) is None
