"""The command line as its user runs it: a process, its output and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import forked

PATIENCE_S = forked.PATIENCE_S
SRC = Path(__file__).parents[2] / "src"
HERE = Path(__file__).parent
Begun = subprocess.Popen[Any] | forked.Forked
NO_SERVICE = "/nonexistent/control.sock"


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that runs this checkout's halfopen; a service of this machine is not asked."""
    return {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "120", "HALFOPEN_CONTROL": NO_SERVICE, **more}


def helped(**more: str) -> dict[str, str]:
    """The same for a child that also imports from this directory."""
    return environment(PYTHONPATH=f"{SRC}{os.pathsep}{HERE}", **more)


def command(*words: str, dies_at: str = "") -> list[str]:
    """The command line of `halfopen` with these words. dies_at: a step of `tuning.dying_at` at which it is killed."""
    start = [str(HERE / "tuning.py"), dies_at] if dies_at else ["-m", "halfopen"]
    return [sys.executable, *start, *words]


def halfopen(
    *words: str, env: dict[str, str] | None = None, dies_at: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `halfopen` with these words; no terminal, standard input empty. dies_at: as for `command`.

    Forked from a process that has imported the command line, where nothing speaks against it.
    """
    ours = environment(**(env or {}))
    if not options and not dies_at and (forker := forked.forker(ours)):
        return forker.run(words, ours)
    return started(*words, env=env, dies_at=dies_at, **options)


def told(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, ten times as fast: for commands that only tell something, such as how they are used.

    Raises what the command does not foresee, which a process would end with as a traceback.
    """
    from halfopen.cli import main
    from halfopen.present import language

    preferred = language.preferred()
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        mock.patch.dict(os.environ, environment(**(env or {})), clear=True),
        mock.patch.object(sys, "argv", ["halfopen", *words]),
        mock.patch.object(main, "gc"),  # this process goes on
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        try:
            code = main.outcome()
        finally:
            language.prefer(preferred)
    said = [stream.buffer.getvalue().decode() for stream in (out, error)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(["halfopen", *words], code, *said)


def begin(*words: str, env: Mapping[str, str] | None = None, **options: Any) -> Begun:
    """Begin `halfopen` with these words, forked where it can be; options: of Popen, those that `Forked` has. Read what
    is a pipe: a command that fills one waits.

    env: the whole environment.
    """
    ours = environment() if env is None else env
    if forker := forked.forker(ours):
        return forker.begin(words, ours, **options)
    return subprocess.Popen(command(*words), env=ours, **options)


def started(
    *words: str, env: dict[str, str] | None = None, dies_at: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """The same, from the start of the interpreter on."""
    return subprocess.run(
        command(*words, dies_at=dies_at),
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


def in_a_mount_namespace(setup: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `halfopen` with these words in a mount namespace of its own, after the shell commands in `setup`."""
    script = f'{setup}; exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", script, "sh", sys.executable, "-m", "halfopen", *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def document(*words: str, **options: Any) -> Any:
    """The JSON document a command prints. Raises: AssertionError when it failed."""
    done = halfopen(*words, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a command that must fail with `code` and no traceback."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert lines[0].startswith("halfopen: ")
    return lines[0]
