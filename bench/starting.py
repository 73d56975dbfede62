"""Start-up, as whole processes on an idle namespace; and how fast the lab sends from one core."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Final

from inside import HERE, BenchError, Inside, environment
from reading import PORT, halfopen_command
from still import say

from halfopen.lab import Lab

_PATIENCE_S: Final = 180


@dataclass(slots=True)
class Start:
    """One command, started again and again: its runs in seconds."""

    name: str
    label: str
    runs_s: list[float] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.runs_s)


def start_up(rounds: int, audit_log: str) -> list[Start]:
    """Start each command `rounds` times in turns, once before for the caches. Raises: BenchError."""
    say("starting up")
    ours = halfopen_command()
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "numpy": [sys.executable, "-c", "import numpy"],
        "help": [*ours, "--help"],
        "status": [*ours, "status"],
    }
    labels = {"python": "python -c pass", "numpy": "python -c 'import numpy'", "help": "halfopen --help"}
    starts = {name: Start(name, labels.get(name, "halfopen status, one idle listener")) for name in commands}
    with Lab() as lab:
        inside = Inside(lab, audit_log)
        lab.server.listen(PORT)
        for turn in range(rounds + 1):
            for name, argv in commands.items():
                seconds = inside.run(argv)["seconds"]
                if turn:
                    starts[name].runs_s.append(seconds)
    return list(starts.values())


def lab_rates(count: int, rounds: int) -> list[float]:
    """SYNs a second that a lab sends from one core, each run a fresh lab, `count` SYNs and all checked to have arrived.

    Raises: BenchError.
    """
    say(f"sending {count:,} SYNs from one core")
    # A process of its own: it binds itself to one core when it is imported.
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); import lab_rate as r; r.COUNT = {count}; "
        f"print(json.dumps([r.measure('0.0.0.0') for _ in range({rounds})]))"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"sending SYNs did not end within {_PATIENCE_S} s") from None
    if done.returncode:
        raise BenchError(f"sending SYNs failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    rates: list[float] = json.loads(done.stdout)
    return rates
