"""Scenes of `closing` with real programs: requests, urllib3, redis-py, psycopg, Node and the JDK against nginx, Redis
and PostgreSQL. Programs that are missing are named, and their scenes left out.

Python's libraries come with the extra `bench`; the rest from the system, on Debian: apt install redis-server postgresql
nginx-light nodejs default-jdk-headless, and PostgreSQL's programs in PATH.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from halfopen.core.errors import LabError
from halfopen.lab.host import LabHost
from halfopen.lab.lab import Lab
from halfopen.lab.scenes.closing import ClosingScene, ClosingStage
from halfopen.lab.wiring import SERVER

_POOLS: Final = Path(__file__).with_name("pools")
_UP_S: Final = 60.0
# The server hangs up on a connection that is idle for so long.
_TIMEOUT_S: Final = 1
_PYTHON: Final = {"requests": "requests", "urllib3": "urllib3", "redis": "redis", "psycopg": "psycopg_pool"}
_NGINX: Final = """
daemon off; master_process off; error_log stderr; pid {directory}/pid;
events {{ worker_connections 2000; }}
http {{
  access_log off; keepalive_timeout {keep}; client_body_temp_path {directory}; proxy_temp_path {directory};
  fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{
    listen {address}:{port} backlog=1024; root {directory};
    location = / {{ return 200 "{body}"; }}
    location = /slow {{ limit_rate 4k; }}
  }}
}}
"""


class PoolStage(ClosingStage):
    """A stage with a directory for the servers' files, gone at the end."""

    def __init__(self, lab: Lab, seed: int, at: LabHost, directory: str) -> None:
        super().__init__(lab, seed, at)
        self.directory = directory
        self.servers: list[subprocess.Popen[str]] = []

    def end(self) -> None:
        """End the servers in order: a PostgreSQL that is killed leaves shared memory behind."""
        for one in self.servers:
            one.send_signal(signal.SIGINT)
            one.wait(_UP_S)

    def client(self, library: str, does: str, **want: Any) -> subprocess.Popen[str]:
        """Start a client program."""
        asked = json.dumps({"library": library, "does": does, "address": SERVER.v4, "port": self.port, **want})
        words = {
            "node": ["node", str(_POOLS / "client.mjs")],
            "java": ["java", "-Xmx64m", "-XX:+UseSerialGC", str(_POOLS / "Client.java")],
        }
        return self._ready(self.lab.client, [*words.get(library, [sys.executable, str(_POOLS / "client.py")]), asked])

    def stuck(self) -> None:
        """A server whose threads are stuck."""
        self._ready(self.lab.server, [sys.executable, str(_POOLS / "stuck_server.py"), SERVER.v4, str(self.port)])

    def nginx(self, *, keeps: bool = False) -> None:
        """nginx; keeps: for ever, instead of for _TIMEOUT_S."""
        Path(self.directory, "slow").write_bytes(b"x" * 6000)
        Path(self.directory, "large").write_bytes(b"x" * 8_000_000)
        config = Path(self.directory, "nginx.conf")
        keep, body = "600s" if keeps else f"{_TIMEOUT_S}s", "x" * self.draw.choice((20, 2000))
        values = {"directory": self.directory, "address": SERVER.v4, "port": self.port, "keep": keep, "body": body}
        config.write_text(_NGINX.format(**values), "utf-8")
        self._server(["nginx", "-e", "stderr", "-p", self.directory, "-c", str(config)])

    def redis(self, *, keeps: bool = False) -> None:
        """redis-server."""
        words = ["redis-server", "--bind", SERVER.v4, "--port", str(self.port), "--save", "", "--dir", self.directory]
        timeout = "0" if keeps else str(_TIMEOUT_S)
        self._server([*words, "--timeout", timeout, "--protected-mode", "no", "--tcp-keepalive", "0"])

    def postgres(self, *, keeps: bool = False) -> None:
        """PostgreSQL, as another user than root."""
        data, as_user = os.path.join(self.directory, "data"), []
        if os.geteuid() == 0:
            os.chmod(self.directory, 0o755)
            os.makedirs(data)
            shutil.chown(data, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        made = [*as_user, "initdb", "-N", "-D", data, "-U", "postgres", "--auth=trust", "--locale=C"]
        subprocess.run(made, capture_output=True, check=True, timeout=_UP_S, cwd=self.directory)
        Path(data, "pg_hba.conf").write_text("host all all all trust\n", "utf-8")
        options = {
            "listen_addresses": SERVER.v4,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 600,
            "fsync": "off",
            "idle_session_timeout": 0 if keeps else _TIMEOUT_S * 1000,
        }
        self._server([*as_user, "postgres", "-D", data, *(w for k, v in options.items() for w in ("-c", f"{k}={v}"))])

    def _ready(self, host: Any, words: list[str]) -> subprocess.Popen[str]:
        quiet: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process: subprocess.Popen[str] = host.spawn(words, **quiet)
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise LabError(f"a program of the scene did not start: {words[:2]}")
        return process

    def _server(self, words: list[str]) -> None:
        self.servers.append(self.lab.server.spawn(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        end = time.monotonic() + _UP_S
        while True:
            try:
                self.lab.client.run(lambda: socket.create_connection((SERVER.v4, self.port), 1)).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise LabError(f"{words[0]} did not come up") from None
                time.sleep(0.05)


class PoolScene(ClosingScene, frozen=True):
    """A scene of ours, and the programs and Python libraries that it needs."""

    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Those that are not here."""
        return [
            name
            for name in self.needs
            if (importlib.util.find_spec(_PYTHON[name]) is None if name in _PYTHON else shutil.which(name) is None)
        ]


POOL_SCENES: Final[dict[str, PoolScene]] = {}
_Play = Callable[[Any], None]


def _scene(name: str, *right: str, needs: str, seconds: float | None = 3.0) -> Callable[[_Play], _Play]:
    def enter(play: _Play) -> _Play:
        POOL_SCENES[name] = PoolScene(name, right, seconds, play, tuple(needs.split()))
        return play

    return enter


@contextmanager
def pool_scene(name: str, seed: int) -> Iterator[PoolStage]:
    """Stand a scene up and give its stage; everything is gone at the end. Raises: KeyError, LabError, NotPermitted."""
    with TemporaryDirectory(prefix="halfopen-pools-") as directory, Lab() as lab:
        stage = PoolStage(lab, seed, lab.client, directory)
        # Below 1024 nobody but root may listen, and PostgreSQL is not to be root.
        stage.port = stage.draw.choice((5432, 6379, 8080, 3306))
        try:
            POOL_SCENES[name].play(stage)
            yield stage
        finally:
            stage.end()


def _rate(at: PoolStage) -> float:
    return at.draw.choice((5.0, 15.0))


def _count(at: PoolStage) -> int:
    return at.draw.choice((3, 8, 20))


# --- leaks ------------------------------------------------------------------------------------------------------------


@_scene("requests-leak", "close-wait-leak", needs="nginx requests")
def requests_leak(at: PoolStage) -> None:
    at.nginx()
    at.client("requests", "leak", rate=_rate(at))
    time.sleep(4.0)


@_scene("urllib3-leak", "close-wait-leak", needs="nginx urllib3")
def urllib3_leak(at: PoolStage) -> None:
    at.nginx()
    at.client("urllib3", "leak", rate=_rate(at))
    time.sleep(4.0)


@_scene("redis-leak", "close-wait-leak", needs="redis-server redis")
def redis_leak(at: PoolStage) -> None:
    at.redis()
    at.client("redis", "leak", rate=_rate(at))
    time.sleep(4.0)


@_scene("postgres-leak", "close-wait-leak", needs="postgres initdb psycopg")
def postgres_leak(at: PoolStage) -> None:
    at.postgres()
    at.client("psycopg", "leak", rate=_rate(at))
    time.sleep(4.0)


# Node reads on although nobody consumes the answer, so it sees the server hang up: it leaks while the server keeps.
@_scene("node-leak", "idle-leak", needs="nginx node")
def node_leak(at: PoolStage) -> None:
    at.nginx(keeps=True)
    at.client("node", "leak", rate=at.draw.choice((10.0, 20.0)))
    time.sleep(13.0)


@_scene("java-leak", "close-wait-leak", needs="nginx java")
def java_leak(at: PoolStage) -> None:
    at.nginx()
    at.client("java", "leak", rate=_rate(at))
    time.sleep(4.0)


@_scene("redis-used-once", "idle-leak", needs="redis-server redis")
def redis_used_once(at: PoolStage) -> None:
    at.redis(keeps=True)
    at.client("redis", "leak", rate=at.draw.choice((10.0, 20.0)))
    time.sleep(13.0)


# --- healthy pools ----------------------------------------------------------------------------------------------------


@_scene("requests-pool", needs="nginx requests")
def requests_pool(at: PoolStage) -> None:
    at.nginx()
    at.client("requests", "pool", count=_count(at), every_s=at.draw.choice((0.1, 0.5)))
    time.sleep(3.0)


@_scene("redis-pool", needs="redis-server redis")
def redis_pool(at: PoolStage) -> None:
    at.redis()
    at.client("redis", "pool", count=_count(at), every_s=at.draw.choice((0.1, 0.5)))
    time.sleep(3.0)


@_scene("postgres-pool", needs="postgres initdb psycopg")
def postgres_pool(at: PoolStage) -> None:
    at.postgres(keeps=True)
    at.client("psycopg", "pool", count=_count(at), every_s=at.draw.choice((0.1, 0.5)))
    time.sleep(3.0)


@_scene("node-pool", needs="nginx node")
def node_pool(at: PoolStage) -> None:
    at.nginx()
    at.client("node", "pool", count=_count(at), every_s=at.draw.choice((0.05, 0.2)))
    time.sleep(3.0)


@_scene("java-pool", needs="nginx java")
def java_pool(at: PoolStage) -> None:
    at.nginx()
    at.client("java", "pool", every_s=at.draw.choice((0.05, 0.2)))
    time.sleep(3.0)


# --- idle pools whose server hung up ----------------------------------------------------------------------------------


@_scene("requests-idle", "close-wait-idle-pool", needs="nginx requests")
def requests_idle(at: PoolStage) -> None:
    at.nginx()
    at.client("requests", "idle", count=_count(at))
    time.sleep(3.0)


@_scene("redis-idle", "close-wait-idle-pool", needs="redis-server redis")
def redis_idle(at: PoolStage) -> None:
    at.redis()
    at.client("redis", "idle", count=_count(at))
    time.sleep(4.0)


@_scene("postgres-idle", "close-wait-idle-pool", needs="postgres initdb psycopg")
def postgres_idle(at: PoolStage) -> None:
    at.postgres()
    at.client("psycopg", "idle", count=_count(at))
    time.sleep(4.0)


# --- what else goes wrong ---------------------------------------------------------------------------------------------


@_scene("http-server-stuck", "close-wait-stuck", needs="requests", seconds=None)
def http_server_stuck(at: PoolStage) -> None:
    at.at = at.lab.server
    at.stuck()
    at.client("requests", "gives-up", rate=at.draw.choice((3.0, 10.0)))
    time.sleep(13.0)


@_scene("requests-reads-slowly", "slow-reader", needs="nginx requests", seconds=None)
def requests_reads_slowly(at: PoolStage) -> None:
    at.nginx(keeps=True)
    at.client("requests", "reads-slowly", count=at.draw.choice((1, 4)))
    time.sleep(7.0)


@_scene("redis-dead-peer", "peer-silent", needs="redis-server redis", seconds=None)
def redis_dead_peer(at: PoolStage) -> None:
    at.redis(keeps=True)
    client = at.client("redis", "told", count=at.draw.choice((1, 4, 12)))
    at.cut()
    at.tell(client)
    time.sleep(8.0)


@_scene("redis-orphans", "orphans-retrying", needs="redis-server redis", seconds=None)
def redis_orphans(at: PoolStage) -> None:
    at.redis(keeps=True)
    client = at.client("redis", "told", count=at.draw.choice((2, 12)), close=True)
    at.cut()
    at.tell(client)
    time.sleep(4.0)


@_scene("requests-ports", "ports-near-end", needs="nginx requests", seconds=None)
def requests_ports(at: PoolStage) -> None:
    at.lab.client.set_sysctl("net.ipv4.ip_local_port_range", "40000 40199")
    at.nginx(keeps=True)
    at.client("requests", "each-new", rate=60)
    time.sleep(4.0)
