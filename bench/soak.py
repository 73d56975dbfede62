"""A service for a long time, in a world that does not stand still: does it grow?

Network namespaces and listeners come and go, floods come and are released, commands are asked for, metrics are scraped,
alarms are told, the configuration is read again, the face is killed, and both processes are stopped for a minute. All
of it in a PID namespace, so that the service sees nothing of the machine but this.

Alone: python bench/soak.py [MINUTES]
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from costs import _used_s as used_s
from inside import HERE, BenchError, environment
from reading import halfopen_command
from still import say

from halfopen.lab import Lab, LabListener
from halfopen.linux import netns
from halfopen.service import client

_PATIENCE_S: Final = 120.0
_LISTENERS: Final = 50
_FLOOD: Final = 400
_STOPPED_S: Final = 60.0
_CONFIG: Final = """
audit_log = "{place}/audit.jsonl"
[alarm]
calm = "5s"
[history]
path = "{place}/history/"
[metrics]
listen = "{place}/m.sock"
[[release]]
name = "old"
mode = "act"
older_than = "8s"
spare_clients = "0s"
[[notify]]
kind = "webhook"
url = "{url}"
"""
# Of the readings of the two processes, the first and the last tenth are compared, behind the time to warm up.
_WARM: Final = 0.15
_PART: Final = 0.15


@dataclass(slots=True)
class Used:
    """What a process had at a moment: resident memory in bytes, descriptors, threads; at_s since the soak began."""

    at_s: float
    memory: int
    descriptors: int
    threads: int


@dataclass(slots=True)
class Soak:
    """Of a soak of so many seconds: what the eyes and the face used, and what happened meanwhile, by name."""

    seconds: float
    eyes: list[Used] = field(default_factory=list)
    face: list[Used] = field(default_factory=list)
    shares: tuple[float, float] = (0.0, 0.0)
    happened: dict[str, int] = field(default_factory=dict)
    longest_s: float = 0.0
    troubles: list[str] = field(default_factory=list)

    def did(self, name: str, n: int = 1) -> None:
        """Something happened."""
        self.happened[name] = self.happened.get(name, 0) + n

    def grew(self, of: list[Used], what: str) -> tuple[float, float]:
        """The median of a figure early, once warm, and at the end."""
        values = [getattr(one, what) for one in of]
        first, n = int(len(values) * _WARM), max(1, int(len(values) * _PART))
        return statistics.median(values[first : first + n]), statistics.median(values[-n:])


def measure(minutes: float) -> Soak:
    """In a PID namespace of its own. Raises: BenchError."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, str(HERE / "soak.py")]
    done = subprocess.run([*words, "--inside", str(minutes)], env=environment(), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise BenchError("the soak ended early: see above")
    raw = json.loads(done.stdout)
    eyes, face = ([Used(**one) for one in raw.pop(name)] for name in ("eyes", "face"))
    return Soak(eyes=eyes, face=face, **raw)


# --- inside -----------------------------------------------------------------------------------------------------------


class _Deaf(http.server.BaseHTTPRequestHandler):
    """Takes alarms."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.taken += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _receiver() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Deaf)
    server.taken = 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _World:
    """What goes on around the service, a turn a second."""

    def __init__(self, result: Soak, lab: Lab, service: subprocess.Popen[bytes], place: str) -> None:
        self.result, self.lab, self.service, self.place = result, lab, service, place
        self.web = lab.server.listen(8080, backlog=1024)
        self.came: list[LabListener] = [lab.server.listen(20_000 + i) for i in range(_LISTENERS)]
        self.spaces: list[int] = []
        self._port, self._answered_at = 30_000, time.monotonic()

    def ask(self, **request: Any) -> dict[str, Any]:
        """What the service answers."""
        answer = client.ask(os.path.join(self.place, "c.sock"), request)
        if answer is None:
            raise BenchError("the service does not answer")
        return answer

    def turn(self, second: int) -> None:
        """One second: what is due in it."""
        for every, at, work in (
            (5, 0, self._scrape),
            (2, 0, self._spaces),
            (7, 3, self._listeners),
            (20, 5, self._flood),
            (30, 11, self._commands),
            (120, 60, self._reload),
            (300, 200, self._kill_face),
        ):
            if second % every == at:
                work()

    def _scrape(self) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(_PATIENCE_S)
            one.connect(os.path.join(self.place, "m.sock"))
            one.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            text = b"".join(iter(lambda: one.recv(1 << 20), b""))
        self.result.did("scrapes", b"halfopen_build_info" in text)

    def _spaces(self) -> None:
        """Namespaces come and go: a few that live for a while."""
        while len(self.spaces) > 12:
            os.close(self.spaces.pop(0))
        self.spaces += [netns.create() for _ in range(3)]
        self.result.did("namespaces", 3)

    def _listeners(self) -> None:
        for _ in range(5):
            self.came.pop(0).close()
            self._port = self._port + 1 if self._port < 60_000 else 30_000
            self.came.append(self.lab.server.listen(self._port))
        self.result.did("listeners", 5)

    def _flood(self) -> None:
        self.lab.client.half_open(self.web, _FLOOD, rate=400)
        self.result.did("floods")

    def _commands(self) -> None:
        for request in ({"command": "status", "netns": "all"}, {"command": "incidents"}, {"command": "health"}):
            self.result.did("answers", bool(self.ask(**request)["ok"]))

    def _reload(self) -> None:
        self.service.send_signal(signal.SIGHUP)
        self.result.did("reloads")

    def _kill_face(self) -> None:
        if pid := self.ask(command="health")["face"]["pid"]:
            os.kill(pid, signal.SIGKILL)
            self.result.did("faces killed")

    def stopped(self, pid: int, name: str) -> None:
        """A minute in which a process is stopped; then everything goes on."""
        say(f"  the {name} {'is' if name == 'face' else 'are'} stopped for {_STOPPED_S:g} s")
        before = self.ask(command="health")
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(_STOPPED_S)
        finally:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass  # a face that hangs is replaced
        _until(lambda: self.ask(command="health")["readings"] > before["readings"] + 3, "it does not read any more")
        _until(lambda: bool(self.ask(command="health")["face"]["memory_bytes"]), "there is no face any more")
        self.result.did(f"minutes stopped ({name})")


def _until(holds: Callable[[], bool], why_not: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > until:
            raise BenchError(why_not)
        time.sleep(0.2)


def _used(pid: int, at_s: float) -> Used | None:
    """None where it has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        facts = {line.partition(":")[0]: line.split()[1] for line in status.splitlines() if len(line.split()) > 1}
        return Used(at_s, int(facts["VmRSS"]) * 1024, len(os.listdir(f"/proc/{pid}/fd")), int(facts["Threads"]))
    except (OSError, KeyError):
        return None


def _inside(minutes: float) -> Soak:
    result = Soak(minutes * 60)
    with tempfile.TemporaryDirectory(prefix="halfopen-soak-") as place, Lab() as lab, _receiver() as receiver:
        os.chmod(place, 0o755)
        url = f"http://127.0.0.1:{receiver.server_address[1]}/"
        config = os.path.join(place, "halfopen.toml")
        Path(config).write_text(_CONFIG.format(place=place, url=url))
        env = {**environment(), "HALFOPEN_CONTROL": os.path.join(place, "c.sock"), "HALFOPEN_STATE_DIR": place}
        argv = [*halfopen_command(), "watch", "--as-service", "--config", config, "--netns", "all"]
        with open(os.path.join(place, "log"), "wb") as log:
            service = subprocess.Popen(argv, stdout=log, env=env)
        try:
            _run(result, _World(result, lab, service, place))
        finally:
            service.terminate()
            service.wait(timeout=60)
        result.did("alarms delivered", receiver.taken)
        lines = Path(place, "log").read_text().splitlines()
        result.did("alarms", sum("  ALARM  " in line for line in lines))
        result.troubles = [line for line in lines if "TROUBLE" in line or "trouble" in line][:20]
    return result


def _run(result: Soak, world: _World) -> None:
    _until(lambda: bool((_health(world) or {}).get("face", {}).get("memory_bytes")), "the service does not begin")
    began, second, stops = time.monotonic(), 0, {"eyes": 0.45, "face": 0.6}
    health = world.ask(command="health")
    used = [used_s(world.service.pid), health["face"]["cpu_s"]]
    readings, seen_at = health["readings"], began
    while (now := time.monotonic()) - began < result.seconds:
        world.turn(second)
        if second % 10 == 0:
            health = world.ask(command="health")
            for of, pid in ((result.eyes, world.service.pid), (result.face, health["face"]["pid"])):
                if one := _used(pid, now - began) if pid else None:
                    of.append(one)
            if second % 60 == 0:
                say(f"  {now - began:,.0f} s: {result.eyes[-1]}, {result.face[-1] if result.face else None}")
            if health["readings"] == readings:
                result.longest_s = max(result.longest_s, now - seen_at)
            else:
                readings, seen_at = health["readings"], now
        for name in [name for name, share in stops.items() if now - began > share * result.seconds]:
            del stops[name]
            world.stopped(world.service.pid if name == "eyes" else health["face"]["pid"], name)
            seen_at = time.monotonic()
        second += 1
        time.sleep(max(0.0, began + second - time.monotonic()) if second > time.monotonic() - began - 5 else 0.0)
    took = time.monotonic() - began
    health = world.ask(command="health")
    result.did("readings", health["readings"])
    result.did("faces replaced", health["face"]["restarts"])
    result.shares = (used_s(world.service.pid) - used[0]) / took, (health["face"]["cpu_s"] - used[1]) / took


def _health(world: _World) -> dict[str, Any] | None:
    try:
        return world.ask(command="health")
    except BenchError:
        if world.service.poll() is not None:
            raise
        return None


def lines(result: Soak) -> list[str]:
    """The table."""
    made = [f"The service for {result.seconds / 60:g} minutes: early (once warm), and at the end"]
    for name, of in (("eyes", result.eyes), ("face", result.face)):
        for what, unit in (("memory", 1e6), ("descriptors", 1), ("threads", 1)):
            early, late = result.grew(of, what)
            shown = f"{early / unit:,.1f} MB → {late / unit:,.1f} MB" if unit > 1 else f"{early:g} → {late:g}"
            made.append(f"  {name:<6}{what:<14}{shown}")
    made.append(f"  of a core: eyes {result.shares[0]:.2%}, face {result.shares[1]:.2%}")
    made += [f"  {n:>9,} {name}" for name, n in result.happened.items()]
    made += [f"  trouble: {line}" for line in result.troubles]
    return made


def as_json(result: Soak) -> dict[str, Any]:
    """Every figure."""
    return asdict(result)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(asdict(_inside(float(sys.argv[2])))))
    else:
        print("\n".join(lines(measure(float((sys.argv[1:] or ["30"])[0])))))
