"""Detection by a real watch at its usual interval: a flood is told in time, a crowd is not told at all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from run import environment
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def watching(netns: str, *words: str, lines: int = 4) -> subprocess.Popen[str]:
    """A watch that has said so much already; by default it knows what arrives."""
    process = subprocess.Popen(
        [sys.executable, "-m", "halfopen", "watch", "--netns", netns, "--json", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    return process


def told(text: str) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, text.splitlines()) if e["event"] not in ("begin", "reading", "end")]


@pytest.mark.parametrize("phase_s", [0.1, 0.6])
def test_a_flood_is_told_within_seconds_of_its_first_syn(lab: Lab, phase_s: float) -> None:
    web = lab.server.listen(8080, backlog=4096)
    process = watching(lab.server.netns_path, "--for", "9s")
    time.sleep(phase_s)  # of the interval
    begun = time.time()
    lab.client.half_open(web, 1500, rate=300)
    out, _ = process.communicate(timeout=30)
    first = {}
    for event in told(out):
        first.setdefault(event["event"], event)
    rising, alarm = first.get("rising", first["alarm"]), first["alarm"]
    assert 0 < rising["time"] - begun <= 1.5
    assert 0 < alarm["time"] - begun <= 3
    assert (alarm["because"], alarm["port"]) == ("unanswered", 8080)
    assert alarm["limit"] <= alarm["unanswered"] <= alarm["arrivals"]
    # Three seconds later the requests have lasted for long enough to say why, as status does.
    assert first["cause"]["cause"] == "spoofed-flood"
    status = json.loads(command("status", "--netns", lab.server.netns_path, "--json").stdout)
    assert "spoofed-flood" in [reason["id"] for reason in status["verdict"]["reasons"]]


def test_a_full_accept_queue_is_an_alarm_at_the_first_reading_and_ends_with_its_listener(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=5, mode="never")
    clients = lab.client.connect(web, 8, timeout=3)
    process = watching(lab.server.netns_path, "--interval", "300ms", "--for", "20s", lines=2)
    try:
        assert process.stdout is not None
        alarm = json.loads(process.stdout.readline())
        assert (alarm["event"], alarm["because"], alarm["port"]) == ("alarm", "accept-queue-full", 8080)
        assert alarm["cause"] == "app-not-accepting"
        web.close()
        said = [json.loads(process.stdout.readline()) for _ in range(20)]
        [clear] = [event for event in said if event["event"] == "clear"]
        assert (clear["gone"], clear["port"], clear["cause"]) == (True, 8080, "app-not-accepting")
    finally:
        clients.close()
        process.terminate()
        process.communicate(timeout=10)


def test_clients_that_are_turned_away_are_an_alarm(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    web = lab.server.listen(8080, backlog=16)
    process = watching(lab.server.netns_path, "--interval", "300ms", "--for", "3s")
    lab.client.half_open(web, 60)
    out, _ = process.communicate(timeout=20)
    [alarm] = [event for event in told(out) if event["event"] == "alarm"]
    assert (alarm["because"], alarm["port"], alarm["cause"]) == ("drops", 8080, "cookies-off")


def test_an_honest_crowd_is_no_alarm() -> None:
    done = command("lab", "--scene", "flash-crowd", "--seed", "3", "--", sys.executable, "-m", "halfopen", "watch",
                   "--for", "8s", "--json")  # fmt: skip
    readings = [json.loads(line) for line in done.stdout.splitlines() if '"event":"reading"' in line]
    assert len(readings) == 8
    assert max(r["half_open"] for r in readings) >= 50  # the rule before would have called this one
    assert [e for e in told("\n".join(x for x in done.stdout.splitlines() if x.startswith("{"))) if
            e["event"] in ("alarm", "cause")] == []  # fmt: skip
