"""What `halfopen top` costs: the time to its first frame and first numbers, CPU at one reading a second, memory.

Run as root: .venv/bin/python bench/live_screen.py [--half-open N] [--rate R] [--seconds S] [--starts N] [--served]
--served: the readings are those of a service, which runs beside the screen. The screen is 140x40, on a pseudo-terminal;
the lab is private. Medians of the starts, processor time by /proc/PID/stat.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))

from halfopen.cli.demo import until  # noqa: E402
from halfopen.core.units import show_bytes, show_time  # noqa: E402
from halfopen.lab import Lab  # noqa: E402
from halfopen.service import client  # noqa: E402

if TYPE_CHECKING:
    from halfopen.lab.host import LabHost

_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE_S = 60.0


@dataclass
class Started:
    """A `top` on a pseudo-terminal. first_s, numbers_s: from its start until the frame, and the verdict, were there."""

    process: subprocess.Popen[bytes]
    master: int
    began: float
    first_s: float = 0.0
    numbers_s: float = 0.0
    first_cpu_s: float = 0.0
    numbers_cpu_s: float = 0.0
    text: bytes = field(default=b"", repr=False)

    def until(self, seconds: float, wanted: bytes = b"") -> float:
        """Take in what is drawn until something is; the time since the start."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                self.text += os.read(self.master, 65536)
                if wanted and wanted in self.text:
                    return time.monotonic() - self.began
        if wanted:
            raise SystemExit(f"top did not show {wanted!r}")
        return time.monotonic() - self.began

    def cpu_s(self) -> float:
        """Processor time so far, of all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, name: str) -> int:
        """VmRSS or VmHWM in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))

    def end(self) -> None:
        """Press q."""
        os.write(self.master, b"q")
        try:
            self.until(0.5)
        except OSError:
            pass
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
        os.close(self.master)


def start(host: LabHost, control: str) -> Started:
    """Start one on a host and wait for its numbers. control: the socket of a service that is asked; "": none is."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    began = time.monotonic()
    words = [sys.executable, "-m", "halfopen", "top"]
    process = host.spawn(words, stdin=slave, stdout=slave, stderr=slave, env=environment(control))
    os.close(slave)
    one = Started(process, master, began)
    one.first_s = one.until(_PATIENCE_S, b"halfopen top")
    one.first_cpu_s = one.cpu_s()
    one.numbers_s = one.until(_PATIENCE_S, b"LISTENER")
    one.numbers_cpu_s = one.cpu_s()
    return one


def environment(control: str) -> dict[str, str]:
    """Of the screen and the service."""
    return {
        **os.environ,
        "PYTHONPATH": str(SRC),
        "TERM": "xterm-256color",
        "HALFOPEN_CONTROL": control or "/nonexistent/control.sock",
    }


@contextmanager
def service(host: LabHost, wanted: bool) -> Iterator[str]:
    """The control socket of a service on a host that has read for the first time; "" where none is wanted."""
    if not wanted:
        yield ""
        return
    with tempfile.TemporaryDirectory() as place:
        control = f"{place}/control.sock"
        env = {**environment(control), "HALFOPEN_STATE_DIR": place}
        words = [sys.executable, "-m", "halfopen", "watch", "--as-service", "--audit-log", f"{place}/audit"]
        running = host.spawn(words, stdout=subprocess.DEVNULL, env=env)
        try:
            until("the service", lambda: bool((client.ask(control, {"command": "health"}) or {}).get("readings")))
            yield control
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(_PATIENCE_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the live screen.")
    parser.add_argument("--half-open", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--served", action="store_true")
    wanted = parser.parse_args()
    with Lab() as lab, service(lab.server, wanted.served) as control:
        web = lab.server.listen(8080, backlog=max(1024, 2 * wanted.half_open))
        starts = [start(lab.server, control) for _ in range(1)]
        starts[0].end()
        measured = []
        for _ in range(wanted.starts):
            measured.append(start(lab.server, control))
            measured[-1].end()
        for name, took, cpu in (
            ("first frame", [one.first_s for one in measured], [one.first_cpu_s for one in measured]),
            ("first numbers", [one.numbers_s for one in measured], [one.numbers_cpu_s for one in measured]),
        ):
            print(f"{name} {show_time(statistics.median(took))} (best {show_time(min(took))}), ", end="")
            print(f"of processor time {show_time(statistics.median(cpu))} (best {show_time(min(cpu))})")
        for name in ("idle", "flood"):
            if name == "flood":
                lab.client.flood(web, wanted.rate, min(600.0, wanted.half_open / wanted.rate))
            one = start(lab.server, control)
            one.until(5.0)
            cpu_s, began = one.cpu_s(), time.monotonic()
            one.until(wanted.seconds)
            share = (one.cpu_s() - cpu_s) / (time.monotonic() - began)
            held = f"{lab.server.half_open(8080):,} half-open at the end"
            print(f"{name}: {share:.1%} of a CPU at one reading a second, ", end="")
            print(f"{show_bytes(one.memory('VmRSS'))} (at most {show_bytes(one.memory('VmHWM'))}); {held}", flush=True)
            one.end()


if __name__ == "__main__":
    main()
