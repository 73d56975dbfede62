"""What a running `watch --json` says, read as it comes: a test waits for an event, not for a time."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

PATIENCE_S = 120.0


def read_until(process: subprocess.Popen[str], seen: Callable[[dict[str, Any]], bool]) -> str:
    """The lines up to the first event for which `seen` holds. Raises: AssertionError when the watch ends before.

    A watch that does not come to it within PATIENCE_S is killed.
    """
    assert process.stdout
    lines: list[str] = []
    killer = threading.Timer(PATIENCE_S, process.kill)
    killer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if seen(json.loads(line)):
                return "".join(lines)
    finally:
        killer.cancel()
        killer.join()
    raise AssertionError(f"the watch ended before that:\n{''.join(lines)}")


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """End it as systemd does: the rest of what it says, and standard error where that is a pipe."""
    process.terminate()
    out, err = process.communicate(timeout=60)
    return out, err
