"""watch: whose clients are turned away, where a listener beside a flooded one lets connections wait for data."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import halfopen
from peers import until
from run import begin
from telling import ended, read_until

if TYPE_CHECKING:
    from halfopen.lab import Lab

WAITING = 10


def test_connections_that_wait_for_data_beside_a_flooded_port_are_no_alarm(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    flooded = lab.server.listen(8080, backlog=32)
    defers = lab.server.listen(8443, backlog=128, defer_accept_s=60)
    watch = begin(
        *("watch", "--netns", lab.server.netns_path, "--interval", "100ms", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    flood = lab.client.flood(flooded, 300, 60)
    said = read_until(watch, lambda event: event["event"] == "alarm")
    clients = lab.client.connect(defers, WAITING)

    def dropped() -> int:
        rows = halfopen.snapshot(lab.server.netns_path).sample.listeners
        return int(rows[rows["port"] == 8443]["drops"][0])

    # The bare ACK of each was let wait, which counts as a drop of the listener.
    until(lambda: dropped() >= WAITING)
    left = iter(range(12))
    said += read_until(watch, lambda event: event["event"] == "reading" and next(left, None) is None)
    said += ended(watch)[0]
    clients.close()
    flood.stop()
    told: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    alarms = [e for e in told if e["event"] in ("alarm", "rising")]
    assert {e["port"] for e in alarms} == {8080}
