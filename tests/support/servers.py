"""Listening processes that a test starts inside a lab's namespace, or in namespaces of their own as in a container."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

# Listens as its first argument says, tells its pid, and ends with its input. `fork`: a child inherits the socket; it
# ends with the input, the parent does not.
_CODE = """
import json, os, signal, socket, sys
want = json.loads(sys.argv[1])
family = socket.AF_INET6 if ":" in want["address"] else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM, want.get("protocol", 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if want.get("group"):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind((want["address"], want["port"]))
s.listen(want["backlog"])
child = os.fork() if want.get("fork") else -1
if child == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print(json.dumps({"pid": os.getpid(), "child": child}), flush=True)
if child > 0:
    signal.pause()
for line in sys.stdin:
    if line.strip():
        s.listen(int(line))
        print("{}", flush=True)
"""


class Server:
    """One listening process; `pid` as this namespace sees it."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process
        assert process.stdout
        self.told = json.loads(process.stdout.readline())
        self.pid = process.pid

    def relisten(self, backlog: int) -> None:
        """The program calls listen() again."""
        assert self.process.stdin
        assert self.process.stdout
        print(backlog, file=self.process.stdin, flush=True)
        self.process.stdout.readline()

    def kill(self) -> None:
        """End it at once, and not what it forked."""
        self.process.kill()
        self.process.wait(60)

    def end(self) -> None:
        """Let it end, and wait until it has."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


@contextmanager
def serving(lab: Lab, n: int = 1, port: int = 8080, **want: Any) -> Iterator[list[Server]]:
    """So many processes, each with a listener of its own, on one port of the lab's server."""
    wanted = {"address": "0.0.0.0", "port": port, "backlog": 16, "group": n > 1, **want}
    servers = []
    try:
        for _ in range(n):
            process = lab.server.spawn(
                [sys.executable, "-I", "-S", "-c", _CODE, json.dumps(wanted)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            servers.append(Server(process))
        yield servers
    finally:
        for server in servers:
            lab.server.end(server.process)


def as_container_root() -> list[str]:
    """What goes before a command that is to run as root of a user namespace of its own. Skips where there is none."""
    words = ["unshare", "--user", "--map-root-user"]
    done = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        # In a chroot, and where user.max_user_namespaces is 0, root is refused as well.
        pytest.skip(f"no user namespace, even for root: {done.stderr.strip()}")
    return words


@contextmanager
def contained(port: int = 8080, backlog: int = 16) -> Iterator[int]:
    """A listener in user, pid, mount and network namespaces of its own, as in a container; its pid as we see it."""
    wanted = {"address": "0.0.0.0", "port": port, "backlog": backlog}
    command = [*as_container_root(), "--pid", "--fork", "--kill-child", "--mount-proc", "--net"]
    process = subprocess.Popen(
        [*command, sys.executable, "-I", "-S", "-c", _CODE, json.dumps(wanted)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        server = Server(process)
        assert server.told["pid"] == 1
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
            yield int(f.read().split()[0])
        server.end()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def words(document: Any, *names: str) -> Sequence[tuple[Any, ...]]:
    """The named values of each change of a document."""
    return [tuple(change[name] for name in names) for change in document["changes"]]
