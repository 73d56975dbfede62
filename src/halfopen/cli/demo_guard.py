"""The part of `make demo` that `halfopen protect` plays: clients without timestamps, served while the flood goes on."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from halfopen.core.errors import HalfopenError

if TYPE_CHECKING:
    from halfopen.lab import Lab, LabListener

_TIMESTAMPS: Final = "net.ipv4.tcp_timestamps"
_TCP_INFO: Final = 11
# tcpi_options of struct tcp_info, and its bit of window scaling.
_OPTIONS_AT, _WSCALE = 5, 4
_ENDS_WITHIN_S: Final = 15.0


def possible() -> bool:
    """Whether this host can arm a guard; a user namespace cannot."""
    from halfopen.read import guards

    return bool(guards.possible())


def let_in(lab: Lab, web: LabListener, clients: int, patience_s: float) -> tuple[int, int]:
    """New clients without timestamps, as Windows is: how many get in, and how many of them keep window scaling."""
    before = lab.client.sysctl(_TIMESTAMPS)
    lab.client.set_sysctl(_TIMESTAMPS, 0)
    try:
        newcomers = lab.client.connect(web, clients, timeout=patience_s)
        alive = newcomers.alive()
        scaled = sum(_scales(s) for s in newcomers.sockets)
        newcomers.close()
    finally:
        lab.client.set_sysctl(_TIMESTAMPS, before)
    return alive, scaled


def _scales(s: socket.socket) -> bool:
    return bool(s.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 104)[_OPTIONS_AT] & _WSCALE)


class ProtectProcess:
    """`halfopen protect` running beside the story; its summary is shown when it ends."""

    def __init__(self, path: str, port: int, share: str) -> None:
        words = ["protect", f":{port}", "--at", share, "--netns"]
        print(f"$ halfopen {' '.join(words)} NETNS &", flush=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "halfopen", *words, path], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        first = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not first.startswith("guarding"):
            raise HalfopenError("demo", f"halfopen protect did not arm its guard: {first.strip()}")
        print(f"  protect | {first}", end="", flush=True)

    def show(self, lines: int) -> None:
        """Show the next lines of its table, as they come: one a second, below the titles."""
        for _ in range(lines + 1):
            line = self._process.stdout.readline() if self._process.stdout is not None else ""
            if not line:
                raise HalfopenError("demo", "halfopen protect ended too soon")
            print(f"  protect | {line}", end="", flush=True)

    def stop(self) -> None:
        """End it in order, and show its last lines."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=_ENDS_WITHIN_S)
        lines = said.splitlines()
        first = next(
            (i for i, line in enumerate(lines) if line.startswith(("no SYN is answered", "the guard is off"))),
            len(lines),
        )
        for line in lines[first:]:
            print(f"  protect | {line}", flush=True)
