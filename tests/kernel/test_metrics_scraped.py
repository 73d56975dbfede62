"""watch --metrics-listen, scraped by a real Prometheus that evaluates the alert rules of contrib/."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peers import until
from run import environment

if TYPE_CHECKING:
    from halfopen.lab import Lab

RULES = Path(__file__).parents[2] / "contrib" / "prometheus" / "halfopen.rules.yml"
PATIENCE_S = 40


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def running(words: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


class Prometheus:
    """What it answers, at a port of loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **query: str) -> Any:
        time.sleep(0.1)  # between two questions
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answered:
                return json.load(answered)["data"]
        except OSError:  # it is not there yet
            return {}

    def value(self, expression: str) -> float | None:
        """The value of the only series that an expression has, None without any."""
        found = self.get("query", query=expression).get("result", [])
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None


@pytest.mark.slow
def test_prometheus_reads_every_metric_and_an_alert_fires(lab: Lab, tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed: scripts/bootstrap dev as root, on Debian or Ubuntu")
    web = lab.server.listen(8080, backlog=4096)
    ours, port = free_port(), free_port()
    config = tmp_path / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: halfopen, static_configs: [{{targets: ['127.0.0.1:{ours}']}}]}}]\n"
    )
    watch = [sys.executable, "-m", "halfopen", "watch", "--netns", lab.server.netns_path, "--interval", "200ms"]
    with ExitStack() as stack:
        stack.enter_context(running([*watch, "--metrics-listen", f"127.0.0.1:{ours}"], env=environment()))
        options = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        words = [prometheus, *options, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        stack.enter_context(running(words, stderr=subprocess.DEVNULL, cwd=tmp_path))
        scraped = Prometheus(port)
        until(lambda: scraped.value("up") == 1 and scraped.value("halfopen_connections") == 0, timeout=PATIENCE_S)
        lab.client.half_open(web, 300)
        until(lambda: scraped.value("halfopen_connections") == 300, timeout=PATIENCE_S)
        assert scraped.value("halfopen_syn_queue_requests") == 300
        types = {name: one[0]["type"] for name, one in scraped.get("metadata").items() if name.startswith("halfopen_")}
        assert {"gauge", "counter", "summary"} <= set(types.values())
        until(lambda: any(one["state"] == "firing" for one in scraped.get("alerts")["alerts"]), timeout=PATIENCE_S)
        firing = {one["labels"]["alertname"] for one in scraped.get("alerts")["alerts"] if one["state"] == "firing"}
        assert firing == {"HalfopenAlarm"}
