"""Commands forked from a process that has imported the command line already: a tenth of what starting Python costs.

A command sees what a fresh process would see: its environment, directory and umask are handed over. Where the caller
differs from that process in what cannot be handed over (namespaces, user, limits …) `run` declines, and the command has
to be started. It ends as an interpreter does, with its threads joined.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_S = 180  # others may want the processors too
# Read by Python before any code of ours runs.
_BEFORE_US = ("PYTHON", "LC_", "LANG", "OPENBLAS", "MALLOC", "LD_")
_FORKER = """
import json, os, sys
import numpy, rich.console, msgspec
import halfopen.cli.main, halfopen.api
from halfopen.cli import entry

for line in sys.stdin:
    words, environment, directory, umask, out, error = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd, path in ((1, out), (2, error)):
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            os.dup2(file, fd)
            os.close(file)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        os.umask(umask)
        sys.argv = ["halfopen", *words]
        entry.main()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forker:
    """One such process, begun with an environment; `close` ends it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.place, self.began_with = _place(), _began_with(environment)
        self._files = tempfile.TemporaryDirectory(prefix="halfopen-forked-")
        pipe = subprocess.PIPE
        words = [sys.executable, "-c", _FORKER]
        self._process = subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1)

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command with this environment, from where the caller is."""
        assert self._process.stdin
        assert self._process.stdout
        out, error = (Path(self._files.name) / name for name in ("out", "error"))
        umask = os.umask(0)
        os.umask(umask)
        order = [list(words), dict(environment), os.getcwd(), umask, str(out), str(error)]
        print(json.dumps(order), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            os.kill(pid, 9)
            self._process.stdout.readline()
            raise subprocess.TimeoutExpired(["halfopen", *words], PATIENCE_S)
        code = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read_text(), error.read_text())

    def close(self) -> None:
        """End it; it holds nothing."""
        self._process.communicate()
        self._files.cleanup()


_lock = threading.Lock()
_forker: Forker | None = None


def run(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str] | None:
    """Run a command with this environment; None where it cannot be had by forking."""
    global _forker
    if not _lock.acquire(blocking=False):
        return None
    try:
        if _forker is None:
            if threading.current_thread() is not threading.main_thread():
                return None
            _forker = Forker(environment)
        if _forker.place != _place() or _forker.began_with != _began_with(environment):
            return None
        return _forker.run(words, environment)
    finally:
        _lock.release()


def close() -> None:
    """End the process; it holds nothing."""
    global _forker
    if _forker is not None:
        _forker.close()
        _forker = None


atexit.register(close)


def _began_with(environment: Mapping[str, str]) -> object:
    return {name: value for name, value in environment.items() if name.startswith(_BEFORE_US)}


def _place() -> object:
    spaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in ("net", "mnt", "user", "uts", "pid_for_children")]
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    status = Path("/proc/thread-self/status").read_text().split("\n")
    ours = [
        line for line in status if line.startswith(("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "SigIgn"))
    ]
    return spaces, limits, ours, Path("/proc/thread-self/cgroup").read_text(), os.sched_getaffinity(0)
