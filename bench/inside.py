"""Processes inside the lab's namespace, asked by the line: a launcher for commands and a worker for each reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from halfopen.core.errors import HalfopenError
from halfopen.lab import Lab

HERE: Final = Path(__file__).resolve().parent
SRC: Final = HERE.parent / "src"


class BenchError(HalfopenError):
    """A benchmark that cannot go on."""

    def __init__(self, message: str) -> None:
        super().__init__("bench", message)


def environment() -> dict[str, str]:
    """For every measured process: this checkout's halfopen, byte code as installed, one BLAS thread."""
    env = {**os.environ, "PYTHONPATH": str(SRC), "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C", "COLUMNS": "120"}
    # A service of this machine is not asked.
    env["HALFOPEN_CONTROL"] = "/nonexistent/control.sock"
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONDEVMODE"):
        env.pop(name, None)
    return env


class Inside:
    """The processes of one lab. `audit_log` is where releases are recorded."""

    def __init__(self, lab: Lab, audit_log: str) -> None:
        self._lab = lab
        self._env = {**environment(), "HALFOPEN_AUDIT_LOG": audit_log}
        self._workers: dict[str, subprocess.Popen[str]] = {}
        self._missing: dict[str, str] = {}
        self._launcher = self._start([sys.executable, "-I", "-S", str(HERE / "launcher.py")])

    def _start(self, argv: list[str]) -> subprocess.Popen[str]:
        return self._lab.server.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._env)

    def missing(self, name: str) -> str | None:
        """Start the worker `name`; why it cannot serve, or None when it can."""
        if name not in self._workers and name not in self._missing:
            worker = self._start([sys.executable, str(HERE / "worker.py"), name])
            first = _answer(worker, name)
            if "missing" in first:
                self._missing[name] = first["missing"]
            else:
                self._workers[name] = worker
        return self._missing.get(name)

    def call(self, name: str) -> dict[str, Any]:
        """Have the worker `name` do its work once. Raises: BenchError."""
        why = self.missing(name)
        if why:
            raise BenchError(why)
        return _ask(self._workers[name], "", name)

    def pin(self, cpu: int, name: str = "") -> None:
        """Keep a worker on one CPU; without a name, the commands that are run."""
        os.sched_setaffinity(self._workers[name].pid if name else self._launcher.pid, {cpu})

    def nice(self, name: str, niceness: int) -> None:
        """Have a worker let others go first."""
        os.setpriority(os.PRIO_PROCESS, self._workers[name].pid, niceness)

    def end(self, name: str) -> None:
        """End a worker, and give back what it holds."""
        if name in self._workers:
            self._lab.server.end(self._workers.pop(name))

    def run(self, argv: list[str], *, read: bool = False, holding: str = "\n") -> dict[str, Any]:
        """Run a command to its end and time it; with `read`, count the lines of its output with `holding` in them.

        Raises: BenchError when it fails.
        """
        request = {"argv": argv, "env": self._env, "read": read, "holding": holding}
        answer = _ask(self._launcher, json.dumps(request), argv[0])
        if answer["code"]:
            raise BenchError(f"{' '.join(argv)} failed with {answer['code']}: {answer['stderr'].strip()[:200]}")
        return answer


def _ask(process: subprocess.Popen[str], line: str, name: str) -> dict[str, Any]:
    assert process.stdin is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise BenchError(f"{name}: its process is gone") from None
    return _answer(process, name)


def _answer(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchError(f"{name}: its process ended with {process.poll()} (killed for memory?)")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise BenchError(f"{name}: {answer['error']}")
    return answer
