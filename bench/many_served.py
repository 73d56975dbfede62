"""What the service costs beside very many half-open connections, with the default `max_cpu`: with the alarm that
they are, during which ordinary readings are not spaced out, and without it, when they have to keep within that share.

Alone: python bench/many_served.py [COUNT] [alarm|quiet]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from costs import _used_s as used_s
from inside import BenchError, environment
from reading import PORT, backlog, halfopen_command, prepare
from service import _memory as memory
from service import _ready as ready
from still import say

from halfopen.lab import Lab
from halfopen.service import client

# Between two bursts of SYN-ACKs, which are sent again 63 and 127 s after the SYNs: the kernel's work is no part of it.
_BEGIN_S: Final = 72.0
_SECONDS: Final = 48.0


# No number of connections is an alarm.
_QUIET: Final = "[alarm]\nminimum = 1_000_000_000\n"


def measure(count: int, *, quiet: bool) -> list[str]:
    """The lines that tell it; quiet: without an alarm. Raises: BenchError."""
    say(f"the service beside {count:,} half-open connections: two minutes")
    with tempfile.TemporaryDirectory(prefix="halfopen-bench-") as place, Lab() as lab:
        prepare(lab)
        listener = lab.server.listen(PORT, backlog=backlog(count))
        sent = lab.client.half_open(listener, count)
        if sent.lost or sent.settled(60) != count:
            raise BenchError(f"the kernel took {sent.held():,} of {count:,} half-open connections")
        control = os.path.join(place, "c.sock")
        env = {**environment(), "HALFOPEN_CONTROL": control, "HALFOPEN_AUDIT_LOG": os.path.join(place, "audit.jsonl")}
        config = os.path.join(place, "halfopen.toml")
        Path(config).write_text(_QUIET if quiet else "")
        argv = [*halfopen_command(), "watch", "--as-service", "--config", config]
        process = lab.server.spawn(argv, stdout=subprocess.DEVNULL, env=env)
        try:
            face = ready(process, control)["face"]["pid"]
            time.sleep(max(0.0, float(sent.sent_at_s[0]) + _BEGIN_S - time.monotonic()))
            before, used = _health(control), [used_s(process.pid), used_s(face)]
            began = time.monotonic()
            time.sleep(_SECONDS)
            took = time.monotonic() - began
            eyes, its = ((used_s(pid) - was) / took for pid, was in zip((process.pid, face), used, strict=True))
            health, (resident, _) = _health(control), memory(process.pid)
        finally:
            lab.server.end(process)
    if quiet and "alarm" in health["status"]:
        raise BenchError(f"there is an alarm: {health['status']}")
    readings = health["readings"] - before["readings"]
    return [
        f"The service beside {count:,} half-open connections for {took:.0f} s, readings of 1 s",
        f"  of a core: eyes {eyes:.2%}, face {its:.2%}; resident memory of the eyes {resident / 1e6:.0f} MB",
        f"  {readings} readings; an ordinary one takes {health['reading_cpu_s'] * 1e3:.1f} ms of processor time",
        f"  spaced {health['spacing_s']:g} s apart at the end; {health['status']}",
    ]


def _health(control: str) -> dict[str, Any]:
    answer = client.ask(control, {"command": "health"})
    if answer is None:
        raise BenchError("the service does not answer")
    return answer


if __name__ == "__main__":
    number, way = [*sys.argv[1:], *("1000000", "alarm")[len(sys.argv) - 1 :]]
    print("\n".join(measure(int(number), quiet=way == "quiet")))
