"""A service that is stopped (SIGSTOP) in the middle of an incident, for many intervals, twice the watchdog's time and
four times the calm after which an incident ends: all of its times are scaled, so that seconds do for a minute.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import halfopen
from halfopen.core.errors import HalfopenError
from halfopen.service import client
from peers import until
from run import Begun, begin, environment
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root
PATIENCE_S = 20
INTERVAL_S = 0.1
STOPPED_S = 2.0
CONFIG = """
interval = "100ms"
max_cpu = "50%"
[alarm]
calm = "500ms"
[history]
path = "{directory}/"
"""


class Systemd:
    """Takes what is sent to $NOTIFY_SOCKET, with the time of each."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.fed: list[float] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while message := self._socket.recv(4096):
            if b"WATCHDOG=1" in message:
                self.fed.append(time.monotonic())

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Service:
    """A service, its lines, and what it says of itself."""

    def __init__(self, process: Begun, lines: Path, control: str, systemd: Systemd) -> None:
        self.process, self._lines, self.control, self.systemd = process, lines, control, systemd

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = self._lines.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [one for one in found if not kinds or one["event"] in kinds]

    def health(self) -> dict[str, Any]:
        return client.ask(self.control, {"command": "health"}) or {}


@pytest.fixture
def service(lab: Lab, tmp_path: Path) -> Iterator[Service]:
    config, lines, control = tmp_path / "watch.toml", tmp_path / "lines", str(tmp_path / "c.sock")
    config.write_text(CONFIG.format(directory=tmp_path / "history"))
    systemd = Systemd(tmp_path / "notify")
    environ = environment(
        HALFOPEN_STATE_DIR=str(tmp_path / "state"),
        HALFOPEN_AUDIT_LOG=str(tmp_path / "audit.jsonl"),
        HALFOPEN_CONTROL=control,
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC=str(int(STOPPED_S / 2 * 1e6)),
    )
    words = ("watch", "--as-service", "--netns", lab.server.netns_path, "--config", str(config), "--json")
    with lines.open("wb") as out:
        process = begin(*words, "--all-lines", env=environ, stdout=out)
        one = Service(process, lines, control, systemd)
        try:
            until(lambda: one.health().get("face", {}).get("memory_bytes"), timeout=PATIENCE_S)
            yield one
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(timeout=30)
            systemd.close()


@contextmanager
def stopped(service: Service) -> Iterator[None]:
    """The eyes are stopped, and go on at the end of the block, STOPPED_S later at least."""
    service.process.send_signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    began = time.monotonic()
    try:
        yield
        time.sleep(max(0.0, began + STOPPED_S - time.monotonic()))
    finally:
        service.process.send_signal(signal.SIGCONT)


def times(events: list[dict[str, Any]]) -> list[float]:
    return [float(one["time"]) for one in events]


@pytest.mark.slow
def test_eyes_that_were_stopped_go_on_with_the_incident_and_make_up_for_nothing(lab: Lab, service: Service) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300)
    until(lambda: service.events("alarm"), timeout=PATIENCE_S)
    before, face = len(service.events("reading")), service.health()["face"]["pid"]
    until(lambda: service.systemd.fed, timeout=PATIENCE_S)
    began = time.monotonic()
    with stopped(service), pytest.raises(HalfopenError):
        client.ask(service.control, {"command": "health"}, patience_s=0.3)
    ended = time.monotonic()
    until(lambda: len(service.events("reading")) > before + 20, timeout=PATIENCE_S)
    # systemd was told nothing meanwhile, and is told again.
    assert not [at for at in service.systemd.fed if began + 0.2 < at < ended]
    until(lambda: service.systemd.fed[-1] > ended, timeout=PATIENCE_S)
    # One long interval, after which readings are as many a second as before: the first comes when the next was due.
    gaps = [later - earlier for earlier, later in pairwise(times(service.events("reading")))]
    assert max(gaps) >= STOPPED_S - INTERVAL_S
    after = gaps[gaps.index(max(gaps)) + 1 :]
    assert len(after) >= 5
    assert sum(after) > (len(after) - 2) * INTERVAL_S
    # The time in which nothing was read was no calm, and no second incident began.
    assert service.events("clear") == []
    assert len(service.events("alarm")) == 1
    health = service.health()
    assert (health["face"]["pid"], health["face"]["restarts"]) == (face, 0), "the face had nothing to say, and is there"


@pytest.mark.slow
def test_what_ended_while_the_eyes_were_stopped_ends_after_its_calm(lab: Lab, service: Service, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300)
    until(lambda: service.events("alarm"), timeout=PATIENCE_S)
    with stopped(service):
        gone = time.monotonic()
        released = halfopen.release(netns=lab.server.netns_path, listener=":8080", audit_log=os.devnull)
        assert released.released == 300
    until(lambda: service.events("clear"), timeout=PATIENCE_S)
    assert time.monotonic() - gone > STOPPED_S, "not before it went on"
    [clear], [alarm] = service.events("clear"), service.events("alarm")
    assert (clear["incident"], clear["peak"]) == (alarm["incident"], 300)
    readings = pairwise(times(service.events("reading")))
    resumed = next(later for earlier, later in readings if later - earlier >= STOPPED_S - INTERVAL_S)
    assert clear["time"] - resumed >= 0.4, "a calm has to be seen: time in which nothing was read is none"
    kept = json.loads(command("history", "--file", f"{tmp_path / 'history'}/", "--json").stdout)
    [incident] = kept["incidents"]
    assert incident["id"] == alarm["incident"]


def test_eyes_never_wait_for_a_face_that_is_stopped(lab: Lab, service: Service) -> None:
    web = lab.server.listen(8080, backlog=4096)
    face = service.health()["face"]["pid"]
    os.kill(face, signal.SIGSTOP)
    try:
        lab.client.half_open(web, 300)
        until(lambda: service.events("alarm"), timeout=PATIENCE_S)
        before = len(service.events("reading"))
        began = time.monotonic()
        until(lambda: len(service.events("reading")) >= before + 10, timeout=PATIENCE_S)
        assert time.monotonic() - began < 10 * INTERVAL_S + 3
        assert [one for one in service.events("trouble") if one["netns"] == "service"] == []
    finally:
        os.kill(face, signal.SIGCONT)
