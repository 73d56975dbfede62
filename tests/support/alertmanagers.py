"""A real Alertmanager that tells a server of the test's own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from peers import until

PATIENCE_S = 40
CONFIG = """
route: {{receiver: us, group_by: ['...'], group_wait: 100ms, group_interval: 200ms, repeat_interval: 1h}}
receivers: [{{name: us, webhook_configs: [{{url: '{url}/ok', send_resolved: true}}]}}]
"""


class Alertmanager:
    """A running one."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def alerts(self) -> dict[str, dict[str, Any]] | None:
        """What fires, by cause; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=5) as answered:
                found = json.load(answered)
        except OSError:
            return None
        return {alert["labels"].get("cause", ""): alert for alert in found}


@contextmanager
def alertmanager_in(directory: Path, tells: str) -> Iterator[Alertmanager]:
    """One that keeps its files in a directory and tells of what fires, and of its end, at a URL."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        pytest.skip("Alertmanager is not installed: scripts/bootstrap dev as root, on Debian or Ubuntu")
    (directory / "am.yml").write_text(CONFIG.format(url=tells))
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    words = [f"--config.file={directory / 'am.yml'}", f"--storage.path={directory / 'data'}", "--log.level=error"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=directory)
    try:
        made = Alertmanager(port)
        until(lambda: made.alerts() == {}, timeout=PATIENCE_S)
        yield made
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
