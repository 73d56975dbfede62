"""nginx, haproxy and an asyncio server, tuned while wrk asks them: no request fails, and every socket is changed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tuning
from peers import until
from run import document

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.slow

CONNECTIONS = 8
BACKLOG = 64
WRK_S = 60

NGINX = """
worker_processes 3;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
user root;
events {{ worker_connections 512; }}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    server {{ listen {port} backlog={backlog} {more}; return 200 "ok"; }}
}}
"""
HAPROXY = """
global
    nbthread 2
defaults
    mode http
    timeout client 20s
    timeout http-keep-alive 20s
frontend web
    bind :{port} backlog {backlog} shards 2
    http-request return status 200 content-type text/plain string ok
"""
ASYNCIO = """
import asyncio, sys
REPLY = b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: %s\\r\\n\\r\\nok"
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            close = b"connection: close" in head.lower()
            writer.write(REPLY % (b"close" if close else b"keep-alive"))
            await writer.drain()
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", int(sys.argv[1]), backlog=int(sys.argv[2]))
    await server.serve_forever()
asyncio.run(main())
"""


def needed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: scripts/bootstrap dev as root, on Debian or Ubuntu")


@contextmanager
def running(lab: Lab, port: int, words: list[str]) -> Iterator[None]:
    """A server of ours, listening; never a service of the distribution."""
    process = lab.server.spawn(words, stderr=subprocess.PIPE)
    try:
        until(lambda: process.poll() is not None or len(sockets(lab, port)) > 0)
        assert process.poll() is None, process.communicate()[1]
        yield
    finally:
        lab.server.end(process, within_s=5)


def nginx(lab: Lab, port: int, directory: Path, more: str = "") -> Any:
    needed("nginx")
    directory.mkdir()
    path = directory / "nginx.conf"
    path.write_text(NGINX.format(directory=directory, port=port, backlog=BACKLOG, more=more))
    return running(lab, port, ["nginx", "-p", str(directory), "-c", str(path), "-g", "daemon off;"])


def haproxy(lab: Lab, port: int, directory: Path) -> Any:
    needed("haproxy")
    directory.mkdir()
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(port=port, backlog=BACKLOG))
    return running(lab, port, ["haproxy", "-db", "-f", str(path)])


def asyncio_server(lab: Lab, port: int, directory: Path) -> Any:
    return running(lab, port, [sys.executable, "-I", "-c", ASYNCIO, str(port), str(BACKLOG)])


# Name → how it is started, its port, and how many listening sockets it has.
SERVERS: dict[str, tuple[Callable[[Lab, int, Path], Any], int, int]] = {
    "nginx": (nginx, 8080, 1),
    "nginx reuseport": (lambda lab, port, directory: nginx(lab, port, directory, "reuseport"), 8081, 3),
    "haproxy": (haproxy, 8082, 2),
    "asyncio": (asyncio_server, 8083, 1),
}


def sockets(lab: Lab, port: int) -> list[int]:
    """The backlogs of the sockets that listen on a port, as `ss -ltn` says."""
    lines = lab.server.exec(["ss", "-Hltn", "sport", "=", f":{port}"], check=True).stdout.splitlines()
    return [int(line.split()[2]) for line in lines]


def asked(report: str) -> int:
    """How many requests wrk made; none of them failed."""
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
    found = re.search(r"(\d+) requests in", report)
    assert found, report
    return int(found[1])


def ghosts(lab: Lab, port: int) -> int:
    """Half-open connections of clients that do not exist (the lab forges 198.18.0.0/15)."""
    return int((lab.server.requests(port)["remote_v4"] >> 17 == 0xC6120000 >> 17).sum())


def releases(lab: Lab, ports: list[int]) -> list[float]:
    """Seconds that one half-open connection to each port lives, all at once."""
    sent = {}
    for n, port in enumerate(ports):
        # The lab's traffic goes to its own listeners alone: one of these, with another port.
        aim = lab.server.listen(9000 + n)
        aim.port = port
        sent[port] = float(lab.client.half_open(aim, 1).sent_at_s[0])
    until(lambda: all(ghosts(lab, port) == 1 for port in ports), timeout=2.5)
    lived: dict[int, float] = {}

    def gone() -> bool:
        lived.update({p: time.monotonic() - sent[p] for p in ports if p not in lived and not ghosts(lab, p)})
        return len(lived) == len(ports)

    until(gone)
    return [lived[port] for port in ports]


def test_tuned_while_wrk_asks(lab: Lab, tmp_path: Path) -> None:
    needed("wrk")
    where = ("--netns", lab.server.netns_path)
    with ExitStack() as stack:
        for name, (start, port, _) in SERVERS.items():
            stack.enter_context(start(lab, port, tmp_path / name.replace(" ", "-")))
        clients = {}
        for name, (_, port, count) in SERVERS.items():
            assert sockets(lab, port) == [BACKLOG] * count, name
            # A new connection for each request: each passes both queues.
            words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{WRK_S}s", "-H", "Connection: close"]
            url = f"http://{lab.server.v4}:{port}/"
            clients[name] = lab.client.spawn([*words, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name, (_, port, count) in SERVERS.items():
            options = ("--backlog", "1024", "--retries", "1", "--defer-accept", "1s", "--yes")
            done = document("tune", "listener", f":{port}", *options, *where, "--json")
            assert {c["state"] for c in done["changes"]} == {"done"}, name
            assert len(done["changes"]) == 3 * count, name
            assert sockets(lab, port) == [1024] * count, name
        lived = releases(lab, [port for _, port, _ in SERVERS.values()])
        assert all(2.9 < s < 6.0 for s in lived), lived
        assert {u.state for u in tuning.undo().undone} == {"undone"}
        for name, (_, port, count) in SERVERS.items():
            assert sockets(lab, port) == [BACKLOG] * count, name
        for name, client in clients.items():
            assert client.poll() is None, name
            # It ends with its report.
            client.send_signal(signal.SIGINT)
            out, error = client.communicate(timeout=60)
            assert client.returncode == 0, error
            assert asked(out) > 50, name
            if name.startswith("nginx"):
                # As many as the server says it answered, but for those under way when wrk ended.
                answered = (tmp_path / name.replace(" ", "-") / "access.log").read_text().count('" 200 2 ')
                assert asked(out) <= answered <= asked(out) + CONNECTIONS, name
            print(f"{name}: {asked(out):,} requests")
