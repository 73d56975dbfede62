"""From the first SYN of a step flood to relief by a release policy, with honest clients beside it.

Each round is a watch of its own at the default interval, in a lab of its own, and the flood begins at another point of
the interval. A time is that at which the line was read from the watch's output.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from inside import environment
from reading import halfopen_command
from still import say

from halfopen.lab import Honest, Lab, LabListener

PORT: Final = 8080
BACKLOG: Final = 4096
RATES: Final = (100, 300, 2000)
FLOOD_S: Final = 7.0
# Honest clients: so many every so often, and so many that stay connected all the time.
_COME: Final = 2
_EVERY_S: Final = 0.1
_STAY: Final = 20
_READY_LINES: Final = 4
MOST_S: Final = {"rising": 1.5, "alarm": 3.0, "released": 4.0}
_CONFIG: Final = """
audit_log = "{audit}"
[[release]]
name = "flood"
mode = "act"
older_than = "1s"
causes = ["spoofed-flood", "few-sources-flood", "prefix-flood"]
"""


@dataclass(slots=True)
class Step:
    """One flood of `rate` SYNs a second. told: seconds from its first SYN to the first line of each kind. peak: the
    most half-open ones of a reading; left: at the end of the flood. honest clients that came, and of them those that
    answer at the end; resets: of all releases together.
    """

    rate: int
    told: dict[str, float] = field(default_factory=dict)
    cause: str = ""
    released: int = 0
    resets: int = 0
    peak: int = 0
    left: int = 0
    honest: int = 0
    alive: int = 0


def measure(rounds: int, rates: Sequence[int] = RATES) -> list[Step]:
    """Every rate in `rounds` floods."""
    steps = []
    for rate in rates:
        say(f"a step flood of {rate:,} SYNs a second, {rounds} times")
        steps += [once(rate, (turn + random.random()) / rounds) for turn in range(rounds)]
    return steps


def once(rate: int, phase: float) -> Step:
    """One flood that begins at this part of an interval."""
    step = Step(rate)
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as directory, Lab() as lab:
        config = Path(directory, "halfopen.toml")
        config.write_text(_CONFIG.format(audit=Path(directory, "audit.jsonl")))
        listener = lab.server.listen(PORT, backlog=BACKLOG)
        stay = lab.client.connect(listener, _STAY)
        words = ["watch", "--netns", lab.server.netns_path, "--config", str(config), "--json"]
        with _lines([*halfopen_command(), *words]) as lines, _coming(lab, listener) as came:
            _wait_for(lines, _READY_LINES)
            time.sleep(phase)
            sent = lab.client.half_open(listener, int(rate * FLOOD_S), rate=rate)
            step.left = lab.server.half_open()
            _judge(step, lines, float(sent.sent_at_s[0]))
        clients = [stay, *came]
        step.honest, step.alive = sum(len(c.sockets) for c in clients), sum(c.alive() for c in clients)
    return step


def _judge(step: Step, lines: list[tuple[float, dict[str, Any]]], begun: float) -> None:
    for at, event in list(lines):
        kind = event["event"]
        if at >= begun:
            step.told.setdefault(kind, round(at - begun, 3))
        if kind in ("alarm", "cause"):
            step.cause = event["cause"]
        elif kind == "released":
            step.released += event["released"]
            step.resets += event["resets"] or 0
        elif kind == "reading":
            step.peak = max(step.peak, event["half_open"])
    # An alarm at once has no rise before it.
    if "alarm" in step.told:
        step.told.setdefault("rising", step.told["alarm"])


@contextmanager
def _lines(command: list[str]) -> Iterator[list[tuple[float, dict[str, Any]]]]:
    """The JSON lines of a watch as they come, each with the time (monotonic)."""
    found: list[tuple[float, dict[str, Any]]] = []
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None

    def read() -> None:
        for line in process.stdout or ():
            found.append((time.monotonic(), json.loads(line)))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)
        thread.join(timeout=10)
        process.stdout.close()


def _wait_for(lines: Sequence[object], count: int, within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while len(lines) < count and time.monotonic() < until:
        time.sleep(0.01)


@contextmanager
def _coming(lab: Lab, listener: LabListener) -> Iterator[list[Honest]]:
    """Honest clients that keep coming."""
    came: list[Honest] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(_EVERY_S):
            came.append(lab.client.connect(listener, _COME))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield came
    finally:
        stop.set()
        thread.join()


def as_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Every figure."""
    return [asdict(step) for step in steps]


_ROW: Final = "  {:<14}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>11}{:>8}{:>16}{:>8}"


def as_lines(steps: Sequence[Step]) -> list[str]:
    """The table, and what it was to show."""
    lines = [
        "Seconds from the first SYN of a step flood, at the default interval of 1 s: median and longest",
        _ROW.format("", "rising", "", "alarm", "", "relief", "", "released", "left", "honest clients", "RSTs"),
    ]
    for rate in dict.fromkeys(step.rate for step in steps):
        mine = [step for step in steps if step.rate == rate]
        cells = [cell for kind in MOST_S for cell in _times([step.told.get(kind) for step in mine])]
        released = statistics.median(step.released for step in mine)
        left = max(step.left for step in mine)
        honest, alive = sum(step.honest for step in mine), sum(step.alive for step in mine)
        resets = sum(step.resets for step in mine)
        share = f"{alive:,} of {honest:,}"
        lines.append(_ROW.format(f"{rate:,} SYNs/s", *cells, f"{released:,.0f}", f"{left:,}", share, f"{resets:,}"))
    return [*lines, "", *(f"{'ok  ' if met else 'MISS'}  {what}" for what, met in targets(steps).items())]


def _times(found: Sequence[float | None]) -> tuple[str, str]:
    known = [t for t in found if t is not None]
    longest = "never" if len(known) < len(found) else f"{max(known):.2f}"
    return f"{statistics.median(known):.2f}" if known else "-", longest


def targets(steps: Sequence[Step]) -> dict[str, bool]:
    """What it has to show, and whether it does."""
    found = {}
    for kind, most in MOST_S.items():
        times = [step.told.get(kind, float("inf")) for step in steps]
        name = "relief" if kind == "released" else kind
        found[f"{name} within {most} s of the first SYN, always: {max(times):.2f} s"] = max(times) <= most
    lost = sum(step.honest - step.alive for step in steps)
    resets = sum(step.resets for step in steps)
    found[f"honest clients unharmed: {lost} lost, {resets} RSTs"] = not lost and not resets
    return found
