"""Detection by a real watch at its usual interval: a flood is told in time, a crowd is not told at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from halfopen import snapshot
from peers import until
from run import Begun, begin
from run import halfopen as command
from telling import ended, read_until

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root


def watching(netns: str, *words: str, lines: int = 4) -> Begun:
    """A watch that has said so much already; by default it knows what arrives."""
    process = begin("watch", "--netns", netns, "--json", *words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    return process


def told(text: str) -> list[dict[str, Any]]:
    return [e for e in map(json.loads, text.splitlines()) if e["event"] not in ("begin", "reading", "end")]


@pytest.mark.parametrize("phase_s", [0.1, 0.6])
def test_a_flood_is_told_within_seconds_of_its_first_syn(lab: Lab, phase_s: float) -> None:
    web = lab.server.listen(8080, backlog=4096)
    process = watching(lab.server.netns_path)
    time.sleep(phase_s)  # of the interval
    sent = lab.client.half_open(web, 1500, rate=300)
    begun = time.time() - time.monotonic() + float(sent.sent_at_s[0])
    # Three seconds later the requests have lasted for long enough to say why, as status does.
    out = read_until(process, lambda event: event.get("cause") == "spoofed-flood")
    out += ended(process)[0]
    readings = [e["time"] for e in map(json.loads, out.splitlines()) if e["event"] == "reading"]
    # A machine that is busy with other tests delays the watch, and the closer look within an interval by as much.
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    late_s = max((after - before for before, after in pairwise(readings)), default=1.0) - 1.0 + 0.5 * busy
    first: dict[str, dict[str, Any]] = {}
    for event in told(out):
        first.setdefault(event["event"], event)
    rising, alarm = first.get("rising", first["alarm"]), first["alarm"]
    assert 0 < rising["time"] - begun <= 1.5 + 2 * late_s
    assert 0 < alarm["time"] - begun <= 3 + 2 * late_s
    assert (alarm["because"], alarm["port"], alarm["arrivals_of"]) == ("unanswered", 8080, "listener")
    assert alarm["limit"] <= alarm["unanswered"] <= alarm["arrivals"]
    assert first.get("cause", alarm)["cause"] == "spoofed-flood"
    status = json.loads(command("status", "--netns", lab.server.netns_path, "--json").stdout)
    assert "spoofed-flood" in [reason["id"] for reason in status["verdict"]["reasons"]]


def test_a_full_accept_queue_is_an_alarm_at_the_first_reading_and_ends_with_its_listener(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=5, mode="never")
    clients = lab.client.connect(web, 8, timeout=1)
    process = watching(lab.server.netns_path, "--interval", "300ms", "--for", "20s", lines=2)
    try:
        assert process.stdout is not None
        alarm = json.loads(process.stdout.readline())
        assert (alarm["event"], alarm["because"], alarm["port"]) == ("alarm", "accept-queue-full", 8080)
        assert alarm["cause"] == "app-not-accepting"
        web.close()
        said = read_until(process, lambda event: event["event"] == "clear").splitlines()
        said += [process.stdout.readline() for _ in range(5)]
        [clear] = [event for event in map(json.loads, said) if event["event"] == "clear"]
        assert (clear["gone"], clear["port"], clear["cause"]) == (True, 8080, "app-not-accepting")
    finally:
        clients.close()
        process.terminate()
        process.communicate(timeout=60)


def test_clients_that_are_turned_away_are_an_alarm(lab: Lab) -> None:
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    web = lab.server.listen(8080, backlog=16)
    process = watching(lab.server.netns_path, "--interval", "300ms")
    lab.client.half_open(web, 60)
    out = read_until(process, lambda event: event["event"] == "alarm") + ended(process)[0]
    [alarm] = [event for event in told(out) if event["event"] == "alarm"]
    assert (alarm["because"], alarm["port"], alarm["cause"]) == ("drops", 8080, "cookies-off")


def test_handshakes_are_told_apart_by_listener(lab: Lab) -> None:
    from halfopen.linux.netns import resolve
    from halfopen.ops.watch.finishing import Finishing

    one, other = lab.server.listen(8080), lab.server.listen(8081)
    finishing = Finishing(lab.server.inode)
    try:
        clients = [lab.client.connect(one, 30), lab.client.connect(other, 7)]
        model = snapshot(resolve(lab.server.netns_path), owners=False)
        keys = {view.port: view.key for view in model.listeners}
        counted: dict[Any, int] = {}

        def came(port: int, n: int) -> bool:
            # A client is connected before the server has its last ACK.
            now = snapshot(resolve(lab.server.netns_path), owners=False)
            for key, finished in (finishing.since(now) or {}).items():
                counted[key] = counted.get(key, 0) + finished
            return counted.get(keys[port], 0) >= n

        until(lambda: came(8080, 30) and came(8081, 7))
        assert counted == {keys[8080]: 30, keys[8081]: 7}
        assert finishing.since(model) == {}
        clients.append(lab.client.connect(other, 5))
        until(lambda: came(8081, 7 + 5))
        assert counted == {keys[8080]: 30, keys[8081]: 7 + 5}
    finally:
        finishing.close()
        for each in clients:
            each.close()


def test_without_ebpf_the_handshakes_of_the_namespace_count(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=1024)
    lab.client.half_open(web, 100).settled()
    done = command("watch", "--netns", lab.server.netns_path, "--read-by", "diag", "--count", "4", "--json")
    [alarm] = [event for event in told(done.stdout) if event["event"] == "alarm"]
    assert (alarm["arrivals_of"], alarm["half_open"]) == ("namespace", 100)


def test_an_honest_crowd_is_no_alarm() -> None:
    done = command("lab", "--scene", "flash-crowd", "--seed", "3", "--", sys.executable, "-m", "halfopen", "watch",
                   "--count", "8", "--json")  # fmt: skip
    readings = [json.loads(line) for line in done.stdout.splitlines() if '"event":"reading"' in line]
    assert len(readings) >= 5
    assert max(r["half_open"] for r in readings) >= 50  # the rule before would have called this one
    assert [e for e in told("\n".join(x for x in done.stdout.splitlines() if x.startswith("{"))) if
            e["event"] in ("alarm", "cause")] == []  # fmt: skip
