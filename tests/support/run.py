"""The command line as its user runs it: a process, its output and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 180  # others may want the processors too
SRC = Path(__file__).parents[2] / "src"


def environment(**more: str) -> dict[str, str]:
    """The environment of a child that runs this checkout's halfopen."""
    return {**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "120", **more}


def halfopen(*words: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `halfopen` with these words; no terminal, standard input empty."""
    return subprocess.run(
        [sys.executable, "-m", "halfopen", *words],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


# Has imported the command line, and forks for each command: a tenth of what starting Python costs.
_FORKER = """
import json, os, sys, traceback
import numpy, rich.console
import halfopen.cli.main
from halfopen.cli import entry

for line in sys.stdin:
    words, out, error = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for fd, path in ((1, out), (2, error)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
            sys.argv = ["halfopen", *words]
            entry.main()
        except SystemExit as e:
            code = e.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forked:
    """A context manager: runs `halfopen` like `halfopen()`, for many commands whose start is not what is tested."""

    def __init__(self, directory: Path) -> None:
        self._out, self._error = directory / "out", directory / "error"

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        words = [sys.executable, "-c", _FORKER]
        self._forker = subprocess.Popen(words, env=environment(), stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._forker.communicate(timeout=PATIENCE_S)

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        assert self._forker.stdin
        assert self._forker.stdout
        print(json.dumps([words, str(self._out), str(self._error)]), file=self._forker.stdin, flush=True)
        code = int(self._forker.stdout.readline())
        return subprocess.CompletedProcess(words, code, self._out.read_text(), self._error.read_text())


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
