"""Connections of a program in a container (a mount, PID, network namespace and cgroup of its own), judged from the host
and from inside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from halfopen.core.closing_filter import ClosingFilter
from halfopen.core.model.closing_kinds import Signature
from halfopen.linux.netns import resolve
from halfopen.ops.closing.look import look
from halfopen.read import containers
from run import environment, halfopen

pytestmark = pytest.mark.root

ID = f"{os.getpid():064x}"
HELD = 12
# Its own loopback, connections in CLOSE_WAIT, then what each line of its input asks halfopen.
_INSIDE = """
import fcntl, json, os, socket, struct, subprocess, sys
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sH22x", b"lo", 0x43))
listener = socket.create_server(("127.0.0.1", 8080))
clients = []
for _ in range(int(sys.argv[1])):
    clients.append(socket.create_connection(("127.0.0.1", 8080)))
    listener.accept()[0].close()
print(json.dumps({"pid": os.getpid()}), flush=True)
for line in sys.stdin:
    done = subprocess.run([sys.executable, "-m", "halfopen", *json.loads(line)], capture_output=True, text=True)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


class Container:
    """The program in it; pid: its number on the host."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("without its pipes")
        self._asked: IO[str] = process.stdin
        self._told: IO[str] = process.stdout
        self.told: dict[str, Any] = json.loads(self._told.readline())
        self.pid = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])

    def halfopen(self, *words: str) -> dict[str, Any]:
        """The document that halfopen writes inside."""
        self._asked.write(json.dumps(words) + "\n")
        self._asked.flush()
        code, out, errors = json.loads(self._told.readline())
        assert code == 0, errors
        document: dict[str, Any] = json.loads(out)
        return document


@contextmanager
def cgroup() -> Iterator[Path]:
    """A cgroup as container runtimes make them."""
    for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        made = Path(root, f"docker-{ID}.scope")
        if not Path(root, "cgroup.procs").exists():
            continue
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            yield made
        finally:
            _remove(made)
        return
    pytest.skip("no cgroup can be made")


def _remove(made: Path) -> None:
    for _ in range(50):  # its last process is still being taken out of it
        try:
            made.rmdir()
            return
        except OSError:
            time.sleep(0.02)


@pytest.fixture
def container() -> Iterator[Container]:
    with cgroup() as place:
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        words = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
        with subprocess.Popen(
            ["sh", "-ec", enter, str(place), *words, sys.executable, "-c", _INSIDE, str(HELD)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield Container(process)
            finally:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)


def test_from_the_host_by_the_name_of_the_container(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ID).mkdir()
    (tmp_path / ID / "config.v2.json").write_text('{"Name": "/shop"}', encoding="utf-8")
    monkeypatch.setattr(containers, "DOCKER", f"{tmp_path}/{{id}}/config.v2.json")
    for called in ("shop", ID[:12], str(container.pid)):
        seen = look(resolve(f"pid:{container.pid}"), ClosingFilter((called,)))
        [group] = seen.model.of(Signature.END_UNREAD)
        assert (group.pid, group.count) == (container.pid, HELD)
        assert group.process is not None
        assert group.process.inside == "shop"
    assert not len(look(resolve(f"pid:{container.pid}"), ClosingFilter(("other",))).model.sockets.rows)


def test_from_the_host_by_command(container: Container) -> None:
    done = halfopen("closing", "--json", "--netns", f"pid:{container.pid}", "--process", ID[:12])
    [group] = json.loads(done.stdout)["groups"]
    assert group["process"]["container"] == ID[:12]
    assert (group["process"]["pid"], group["state"], group["count"]) == (container.pid, "CLOSE_WAIT", HELD)


@pytest.mark.parametrize("refused", ["", "closers"])
def test_the_cures_work_from_the_host(container: Container, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into namespaces of user, PID and network of its own, by eBPF and by duplicates of the program's descriptors."""
    monkeypatch.setenv("HALFOPEN_REFUSE_BPF", refused)

    def cure(*words: str) -> dict[str, Any]:
        done = halfopen("closing", *words, "--netns", f"pid:{container.pid}", "--yes", "--json")
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    mine = ("--process", ID[:12], "--state", "close-wait")
    set_on = cure("keepalive", *mine, "--after", "600s")
    way = "descriptor" if refused else "bpf"
    assert (set_on["done"], set_on["failed"], set_on["way"]) == (HELD, 0, way), set_on
    assert cure("keepalive", "--undo", set_on["undo"])["done"] == HELD
    ended = cure("shutdown", *mine, "--idle", "0s", "--max", str(HELD))
    assert (ended["done"], ended["failed"], ended["way"]) == (HELD, 0, "descriptor"), ended
    assert cure("destroy", *mine, "--idle", "0s")["matched"] == 0


def test_from_inside(container: Container) -> None:
    assert container.told["pid"] == 1
    document = container.halfopen("closing", "--json", "--state", "close-wait")
    [group] = document["groups"]
    assert document["owners_whole"]
    assert (group["process"]["pid"], group["count"], group["kind"]) == (1, HELD, "end-unread")
    done = container.halfopen("closing", "destroy", "--process", "1", "--idle", "0s", "--yes", "--json")
    assert (done["matched"], done["done"]) == (HELD, HELD)
