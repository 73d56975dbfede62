"""Commands forked from a process that has imported them already (`forker.py`): a tenth of what starting Python costs.

A command sees what a fresh process would see: its environment, directory and umask are handed over. Where the caller
differs from that process in what cannot be handed over (namespaces, user, limits …) `begin` declines, and the command
has to be started. At its end threads are joined and functions of `atexit` run; modules are not taken apart.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

PATIENCE_S = 180  # others may want the processors too
# Read by Python before any code of ours runs.
_BEFORE_US = ("PYTHON", "LC_", "LANG", "TZ", "OPENBLAS", "MALLOC", "LD_")
_FORKER = Path(__file__).with_name("forker.py")


class Forked:
    """A command at work, with what subprocess.Popen offers."""

    def __init__(
        self,
        control: socket.socket,
        words: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: IO[Any] | int | None = None,  # not PIPE
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args, self.returncode = ["halfopen", *words], None
        self._lock = threading.Lock()
        self._readers: dict[str, tuple[threading.Thread, list[Any]]] = {}
        mine: dict[int, int] = {}  # what is closed here when the command has it
        files: list[int] = []
        streams: list[IO[Any] | None] = [None, None, None]
        for number, given in enumerate((stdin, stdout, stderr)):
            if given == subprocess.PIPE:
                read, mine[number] = os.pipe()
                streams[number] = open(read, "r" if text else "rb")  # noqa: SIM115 - as long as the command
            elif given == subprocess.DEVNULL:
                mine[number] = os.open(os.devnull, os.O_RDWR)
            elif given == subprocess.STDOUT:
                mine[number] = os.dup(files[1])
            file = number if given is None else given if isinstance(given, int) else given.fileno()
            files.append(mine.get(number, file))
        _, self.stdout, self.stderr = streams
        status, told = os.pipe()
        self._status = open(status, "rb", buffering=0)  # noqa: SIM115
        order = {
            "words": list(words),
            "environment": dict(environment),
            "session": start_new_session,
            "directory": os.path.abspath(cwd or os.getcwd()),
            "umask": _umask(),
        }
        try:
            socket.send_fds(control, [json.dumps(order).encode()], [*files, told])
        finally:
            for fd in (told, *mine.values()):
                os.close(fd)
        self.pid = self._told()

    def _told(self) -> int:
        """The next number that is told of it."""
        text = b""
        while not text.endswith(b"\n"):
            read = self._status.read(1)
            assert read, "the process that commands are forked from has ended"
            text += read
        return int(text)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._status], [], [], left)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                self.returncode = self._told()
                self._status.close()
            return self.returncode

    def communicate(self, input: None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Both outputs, read to their ends."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for name in ("stdout", "stderr"):
            if (stream := getattr(self, name)) is not None and name not in self._readers:
                got: list[Any] = []
                reader = threading.Thread(target=lambda stream=stream, got=got: got.append(stream.read()), daemon=True)
                reader.start()
                self._readers[name] = reader, got
        for reader, _ in self._readers.values():
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._close()
        out, error = (self._readers[name][1][0] if name in self._readers else None for name in ("stdout", "stderr"))
        return out, error

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _close(self) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.wait()


class Forker:
    """One such process, begun with an environment; `close` ends it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.place, self.began_with = _place(), _began_with(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, str(_FORKER), str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def begin(self, words: Sequence[str], environment: Mapping[str, str], **options: Any) -> Forked:
        """Begin a command with this environment, from where the caller is."""
        return Forked(self._control, words, environment, **options)

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command with this environment, from where the caller is; its standard input is empty."""
        pipe = subprocess.PIPE
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, "text": True}
        with self.begin(words, environment, **options) as running:
            try:
                out, error = running.communicate(timeout=PATIENCE_S)
            finally:
                running.kill()
        assert running.returncode is not None
        return subprocess.CompletedProcess(words, running.returncode, out, error)

    def close(self) -> None:
        """End it; it holds nothing."""
        self._control.close()
        self._process.wait()


_lock = threading.Lock()
_forker: Forker | None = None


def forker(environment: Mapping[str, str]) -> Forker | None:
    """What forks commands with this environment for the calling thread; None where they have to be started."""
    global _forker
    place = _place()
    with _lock:
        if _forker is None:
            # A thread may be in a namespace of a lab, which would live as long as the process.
            if threading.current_thread() is not threading.main_thread() and place != _place(os.getpid()):
                return None
            _forker = Forker(environment)
    return _forker if (_forker.place, _forker.began_with) == (place, _began_with(environment)) else None


def close() -> None:
    """End the process; it holds nothing."""
    global _forker
    if _forker is not None:
        _forker.close()
        _forker = None


atexit.register(close)


def _began_with(environment: Mapping[str, str]) -> object:
    return {name: value for name, value in environment.items() if name.startswith(_BEFORE_US)}


def _umask() -> int:
    # os.umask() would change it for a moment, for other threads as well.
    [line] = [line for line in Path("/proc/self/status").read_text().split("\n") if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def _place(thread: int = 0) -> object:
    thread = thread or threading.get_native_id()
    there = Path(f"/proc/self/task/{thread}")
    spaces = [os.readlink(there / "ns" / name) for name in ("net", "mnt", "user", "uts", "pid_for_children")]
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    status = (there / "status").read_text().split("\n")
    ours = [
        line for line in status if line.startswith(("Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp", "SigIgn"))
    ]
    return spaces, limits, ours, (there / "cgroup").read_text(), os.sched_getaffinity(thread)
