"""The handles of a scene's processes: a server program and a kind of clients."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from halfopen.core.errors import LabError
from halfopen.lab.host import LabHost
from halfopen.lab.scenes import app, visitors
from halfopen.lab.scenes.truth import Stream

_POLL_S: Final = 0.02


class Serving(Struct, frozen=True):
    """A server program as asked for.

    mode: "serve" accepts at once; "slow" accepts `rate` a second; "block" never accepts; "farewell" closes at once.
    members: sockets that share the port. workers: processes (0: one process for all). work: CPU for each connection,
    about a millisecond for 1,000. nofile: the limit of open files. defer_s: TCP_DEFER_ACCEPT. retries: TCP_SYNCNT.
    """

    port: int
    address: str
    backlog: int
    mode: str = "serve"
    members: int = 1
    workers: int = 0
    rate: float = 10.0
    work: int = 0
    nofile: int = 0
    defer_s: int = 0
    retries: int = 0


class Visiting(Struct, frozen=True):
    """Real clients as asked for: `rate` a second (Poisson), or bursts of `burst` every `every_s`.

    prefixes, addresses: from how many addresses of which prefixes. then: "close" says a byte and leaves, "stay" stays
    `stay_s`, "reset" resets, "silent" stays and says nothing. from_port: fixed client ports from there on.
    """

    prefixes: tuple[str, ...]
    rate: float = 0.0
    addresses: int = 1000
    burst: int = 0
    every_s: float = 1.0
    then: str = "close"
    stay_s: float = 600.0
    give_up_s: float = 20.0
    count: int = 10_000_000
    for_s: float = 600.0
    from_port: int = 0
    honest: bool = True


class _Program:
    """A child that takes its description from stdin and counts into a page."""

    def __init__(self, host: LabHost, file: str, want: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        self._host = host
        memory = os.memfd_create("lab-scene")
        try:
            os.ftruncate(memory, visitors.PAGE)
            self._page = mmap.mmap(memory, visitors.PAGE)
            pipe = subprocess.PIPE
            words = ["exec", sys.executable, "-I", "-S", file, str(os.getpid())]
            self.process: subprocess.Popen[bytes] = host.start(words, stdin=pipe, stdout=pipe, pass_fds=[memory, *fds])
            if self.process.stdin is None:
                raise LabError("a scene's program has no input")
            self.process.stdin.write(json.dumps({**want, "page_fd": memory}).encode() + b"\n")
            self.process.stdin.flush()
        finally:
            os.close(memory)

    def word(self, at: int) -> int:
        """A number of the page."""
        value: int = struct.unpack_from("=Q", self._page, 8 * at)[0]
        return value

    def end(self) -> None:
        """End it, also if it is stopped."""
        if self.process.poll() is None:
            self.process.kill()
        self._host.end(self.process)


class App(_Program):
    """A server program at work. pids: who accepts; arbiter: who opened the sockets."""

    def __init__(self, host: LabHost, want: Serving) -> None:
        """Start the program. Raises: LabError."""
        # Every worker appends to one open file, so that no address is lost.
        self._peers = os.memfd_create("lab-peers")
        os.set_blocking(self._peers, True)
        super().__init__(host, app.__file__, {**asdict(want), "peers_fd": self._peers}, (self._peers,))
        self.want = want
        line = self.process.stdout.readline() if self.process.stdout is not None else b""
        answer: dict[str, Any] = json.loads(line) if line else {}
        if "port" not in answer:
            self.end()
            why = os.strerror(answer["errno"]) if "errno" in answer else "it ended"
            raise LabError(f"the scene's server on port {want.port} did not begin: {why}")
        self.port: int = answer["port"]
        self.arbiter: int = answer["arbiter"]
        self.pids: list[int] = answer["pids"]
        self.stopped: set[int] = set()

    @property
    def accepted(self) -> tuple[int, ...]:
        """How many connections each worker accepted."""
        return tuple(self.word(i) for i in range(max(1, self.want.workers)))

    def peers(self) -> bytes:
        """The address of every connection accepted so far, 16 bytes each (v4-mapped)."""
        return os.pread(self._peers, os.fstat(self._peers).st_size, 0) if self._peers >= 0 else b""

    def end(self) -> None:
        """End the program."""
        super().end()
        if self._peers >= 0:
            os.close(self._peers)
            self._peers = -1

    def stop(self, *workers: int) -> None:
        """Stop these workers (all without any), as SIGSTOP does. Returns once the kernel says so."""
        for pid in [self.pids[i] for i in workers] or self.pids:
            os.kill(pid, signal.SIGSTOP)
            self.stopped.add(pid)
            _until(lambda pid=pid: _state(pid) == "T")  # type: ignore[misc]

    def go_on(self) -> None:
        """Let stopped workers continue."""
        for pid in self.stopped:
            os.kill(pid, signal.SIGCONT)
        self.stopped.clear()


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rpartition(")")[2].split()[0]


def _until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise LabError(f"a scene's process did not change its state within {within_s:g} s")
        time.sleep(_POLL_S)


class Clients(_Program):
    """Real clients of one kind at work."""

    def __init__(self, host: LabHost, want: Visiting, target: str, port: int, seed: int) -> None:
        words = {**asdict(want), "target": target, "port": port, "seed": seed}
        super().__init__(host, visitors.__file__, words)
        self.want, self.target, self.port = want, target, port

    @property
    def started(self) -> int:
        """Connections begun."""
        return self.word(visitors.STARTED)

    @property
    def connected(self) -> int:
        """Handshakes that the client finished."""
        return self.word(visitors.CONNECTED)

    @property
    def failed(self) -> int:
        """Connections refused, reset or given up."""
        return self.word(visitors.FAILED)

    def _p50_s(self) -> float:
        """The upper end of the bucket that half of the handshakes are within."""
        seen, half = 0, self.connected / 2
        for bucket in range(32):
            seen += self.word(visitors.BY_TIME + bucket)
            if seen and seen >= half:
                return float(2**bucket) / 1000
        return 0.0

    def truth(self) -> Stream:
        """The clients' work so far, as they see it: how many the server finished with is not known here."""
        prefixes = dict.fromkeys(self.want.prefixes, 0)
        max_s = self.word(visitors.MAX_US) / 1e6
        late_ms = self.word(visitors.LATE)
        return Stream(
            *(self.target, self.port, prefixes, self.want.honest, self.started, self.connected, self.failed),
            *(min(self._p50_s(), max_s), max_s, late_ms),
        )
