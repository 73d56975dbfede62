"""What the service itself costs: both its processes, idle beside many listeners, while their metrics are scraped."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from costs import _used_s as used_s
from inside import BenchError, environment
from reading import halfopen_command
from still import say

from halfopen.lab import Lab
from halfopen.service import client

_FIRST_PORT: Final = 20_000
_PATIENCE_S: Final = 60.0
# On a machine under heavy load.
_STARTS_WITHIN_S: Final = 180.0
# Until the allocator and the caches have what they keep.
_WARM_S: Final = 10.0
_SCRAPE_S: Final = 5.0


@dataclass(slots=True)
class Share:
    """What the two processes used beside so many listeners: of a core, and of memory (resident; PSS: shared pages
    divided by those who share them), in bytes. rounds: the lengths of scrapes, seconds.
    """

    listeners: int
    eyes: float = 0.0
    face: float = 0.0
    resident: tuple[int, int] = (0, 0)
    pss: tuple[int, int] = (0, 0)
    scrapes_s: list[float] = field(default_factory=list)


def measure(listeners: int, seconds: float) -> list[Share]:
    """Beside one listener and beside so many. Raises: BenchError, HalfopenError."""
    found = []
    for n in (1, listeners):
        say(f"an idle service beside {n:,} listener{'s' * (n > 1)}")
        with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place, Lab() as lab:
            for port in range(_FIRST_PORT, _FIRST_PORT + n):
                lab.server.listen(port)
            found.append(_one(lab, n, place, seconds))
    return found


def _one(lab: Lab, listeners: int, place: str, seconds: float) -> Share:
    control, metrics = os.path.join(place, "c.sock"), os.path.join(place, "m.sock")
    env = {**environment(), "HALFOPEN_CONTROL": control, "HALFOPEN_AUDIT_LOG": os.path.join(place, "audit.jsonl")}
    argv = [*halfopen_command(), "watch", "--as-service", "--metrics-listen", metrics]
    process = lab.server.spawn(argv, stdout=subprocess.DEVNULL, env=env)
    try:
        face = _ready(process, control)["face"]["pid"]
        time.sleep(min(_WARM_S, seconds))
        result, pids = Share(listeners), (process.pid, face)
        begun, used = time.monotonic(), [used_s(pid) for pid in pids]
        while time.monotonic() - begun < seconds:
            time.sleep(min(_SCRAPE_S, seconds))
            at = time.monotonic()
            _scrape(metrics)
            result.scrapes_s.append(time.monotonic() - at)
        took = time.monotonic() - begun
        result.eyes, result.face = ((used_s(pid) - before) / took for pid, before in zip(pids, used, strict=True))
        (eyes, eyes_pss), (its, its_pss) = map(_memory, pids)
        result.resident, result.pss = (eyes, its), (eyes_pss, its_pss)
        return result
    finally:
        lab.server.end(process)


def _ready(process: subprocess.Popen[Any], control: str) -> dict[str, Any]:
    """How a service is that has read for the first time, and whose face runs. Raises: BenchError."""
    until, lacks = time.monotonic() + _STARTS_WITHIN_S, ""
    while time.monotonic() < until:
        if process.poll() is not None:
            raise BenchError(f"the service ended with {process.returncode}")
        answer = client.ask(control, {"command": "health"})
        if answer is None:
            lacks = "does not answer"
        elif not answer["readings"]:
            lacks = "answers, but has not read"
        elif not answer["face"]["memory_bytes"]:
            lacks = f"answers and reads, but its face does not run (started {answer['face']['restarts'] + 1} times)"
        else:
            return answer
        time.sleep(0.1)
    raise BenchError(f"after {_STARTS_WITHIN_S:g} s the service {lacks}")


def _scrape(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(_PATIENCE_S)
        one.connect(path)
        one.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        text = b"".join(iter(lambda: one.recv(1 << 20), b""))
    if b"halfopen_build_info" not in text:
        raise BenchError("the service does not serve its metrics")


def _memory(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    of = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
    return of["Rss"], of["Pss"]


def lines(found: list[Share], seconds: float) -> list[str]:
    """The table."""
    head = f"The service, idle, one reading a second for {seconds:g} s, scraped every {_SCRAPE_S:g} s"
    made = [head, f"  {'':<18}{'eyes':>10}{'face':>10}{'both':>10}   resident MB (eyes + face), PSS, scrape"]
    for one in found:
        name = f"{one.listeners:,} listener{'s' * (one.listeners > 1)}"
        eyes, face = (n / 1e6 for n in one.resident)
        made.append(
            f"  {name:<18}{one.eyes:>10.2%}{one.face:>10.2%}{one.eyes + one.face:>10.2%}   "
            f"{eyes:.0f} + {face:.0f} = {eyes + face:.0f}, {sum(one.pss) / 1e6:.0f}, "
            f"{statistics.median(one.scrapes_s) * 1e3:.0f} ms"
        )
    return made


def document(found: list[Share]) -> str:
    """Every figure, as JSON."""
    return json.dumps([{name: getattr(one, name) for name in Share.__dataclass_fields__} for one in found], indent=1)
