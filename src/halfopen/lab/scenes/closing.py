"""Scenes of connections that are never closed, and of healthy pools, with the verdicts that are right.

`halfopen closing` looks once or twice at each, from the end where the trouble shows.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from halfopen.core.errors import LabError
from halfopen.lab.host import LabHost
from halfopen.lab.lab import Lab
from halfopen.lab.wiring import SERVER

_PROGRAM: Final = str(Path(__file__).with_name("closing_end.py"))
_READY_S: Final = 30.0


class ClosingStage:
    """Two hosts and the programs on them; what is drawn comes from `seed`. at: the host to look at."""

    def __init__(self, lab: Lab, seed: int, at: LabHost) -> None:
        self.lab, self.seed, self.at = lab, seed, at
        self.draw = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
        self.port = self.draw.choice((5432, 6379, 8080, 3306, 443))

    def serve(self, **want: Any) -> subprocess.Popen[str]:
        """A server program; what it does as `closing_end.serve` says."""
        return self._start(self.lab.server, {"role": "serve", "address": SERVER.v4, "port": self.port, **want})

    def connect(self, **want: Any) -> subprocess.Popen[str]:
        """A client program; what it does as `closing_end.connect` says."""
        return self._start(self.lab.client, {"role": "connect", "address": SERVER.v4, "port": self.port, **want})

    def _start(self, host: LabHost, want: dict[str, Any]) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process: subprocess.Popen[str] = host.spawn([sys.executable, _PROGRAM, dumps(want)], **pipes)
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise LabError(f"a program of the scene did not start: {want['role']}")
        return process

    def tell(self, program: subprocess.Popen[str]) -> None:
        """Give a program the sign that it waits for."""
        if program.stdin is not None:
            program.stdin.write("now\n")
            program.stdin.flush()

    def cut(self) -> None:
        """Cut the wire: from now on no packet reaches the server or comes from it."""
        self.lab.client.run(lambda: subprocess.run(["ip", "neigh", "flush", "all"], check=False))
        device = next(name for name in self.lab.server.run(_devices) if name != "lo")
        self.lab.server.run(lambda: subprocess.run(["ip", "link", "set", device, "down"], check=True))


def _devices() -> list[str]:
    with open("/proc/thread-self/net/dev", encoding="ascii") as f:
        return [line.partition(":")[0].strip() for line in f if ":" in line]


class ClosingScene(Struct, frozen=True):
    """right: ids of which one must be found; empty: nothing is wrong. Any other finding above OK is a false accusation.
    seconds: between the two looks that are needed; None: one look is enough.
    """

    name: str
    right: tuple[str, ...]
    seconds: float | None
    play: Callable[[ClosingStage], None]


CLOSING_SCENES: Final[dict[str, ClosingScene]] = {}
_Play = Callable[[ClosingStage], None]


def _scene(name: str, *right: str, seconds: float | None = None) -> Callable[[_Play], _Play]:
    def enter(play: _Play) -> _Play:
        CLOSING_SCENES[name] = ClosingScene(name, right, seconds, play)
        return play

    return enter


@contextmanager
def closing_scene(name: str, seed: int) -> Iterator[ClosingStage]:
    """Set up a scene and yield its stage; everything is removed at the end. Raises: KeyError, LabError,
    NotPermitted.
    """
    with Lab() as lab:
        stage = ClosingStage(lab, seed, lab.client)
        CLOSING_SCENES[name].play(stage)
        yield stage


@_scene("healthy-pool", seconds=2.0)
def healthy_pool(at: ClosingStage) -> None:
    at.serve(then="keep", bytes=at.draw.choice((20, 2000)))
    at.connect(count=at.draw.choice((3, 10, 50)), then="use", every_s=at.draw.choice((0.1, 0.5)))
    time.sleep(1.0)


@_scene("idle-pool", "close-wait-idle-pool", seconds=2.0)
def idle_pool(at: ClosingStage) -> None:
    server = at.serve(then="hang-up")
    at.connect(count=at.draw.choice((2, 6, 20, 80)), then="keep")
    at.tell(server)
    time.sleep(at.draw.choice((0.5, 3.0)))


@_scene("leak", "close-wait-leak", seconds=2.0)
def leak(at: ClosingStage) -> None:
    at.serve(then="close", after_s=at.draw.choice((0.0, 0.3)), bytes=at.draw.choice((20, 2000)))
    at.connect(rate=at.draw.choice((5, 20, 50)), then="keep", reads=at.draw.choice((True, False)))
    time.sleep(2.0)


@_scene("stuck-server", "close-wait-stuck")
def stuck_server(at: ClosingStage) -> None:
    at.at = at.lab.server
    at.serve(reads=False)
    at.connect(rate=at.draw.choice((3, 20)), then="hang-up", reads=False, after_s=0.3)
    time.sleep(12.0)


@_scene("deaf-server", "close-wait-unaccepted")
def deaf_server(at: ClosingStage) -> None:
    at.at = at.lab.server
    at.serve(accepts=False)
    at.connect(rate=at.draw.choice((5, 20)), then="hang-up", reads=False, after_s=0.3)
    time.sleep(3.0)


@_scene("slow-consumer", "slow-reader")
def slow_consumer(at: ClosingStage) -> None:
    at.serve(pours=True)
    at.connect(count=at.draw.choice((1, 4, 12)), then="keep", reads=False)
    time.sleep(7.0)


@_scene("slow-consumer-peer", "slow-peer")
def slow_consumer_peer(at: ClosingStage) -> None:
    slow_consumer(at)
    at.at = at.lab.server


@_scene("dead-peer", "peer-silent")
def dead_peer(at: ClosingStage) -> None:
    at.serve(then="keep")
    client = at.connect(count=at.draw.choice((1, 4, 12)), then="send")
    at.cut()
    at.tell(client)
    time.sleep(8.0)


@_scene("orphans", "orphans-retrying")
def orphans(at: ClosingStage) -> None:
    at.serve(then="keep")
    client = at.connect(count=at.draw.choice((2, 12)), then="close")
    at.cut()
    at.tell(client)
    time.sleep(4.0)


@_scene("port-exhaustion", "ports-near-end")
def port_exhaustion(at: ClosingStage) -> None:
    at.lab.client.set_sysctl("net.ipv4.ip_local_port_range", "40000 40199")
    at.serve(then="keep")
    at.connect(rate=100, then="hang-up", after_s=0.05)
    time.sleep(4.0)


@_scene("used-once", "idle-leak", seconds=3.0)
def used_once(at: ClosingStage) -> None:
    at.serve(then="keep", bytes=500)
    at.connect(rate=at.draw.choice((10, 20)), then="keep")
    time.sleep(13.0)
