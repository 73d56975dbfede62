"""`halfopen diagnose` on a real host: what it finds, what it rules out, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import halfopen
from halfopen.core.errors import UnknownTarget
from halfopen.core.findings.diagnosis import Confidence
from halfopen.lab import Lab
from peers import until
from run import begin, document, one_line
from run import halfopen as run
from terminal import terminal

if TYPE_CHECKING:
    from halfopen.core.findings.diagnosis import Diagnosis

pytestmark = pytest.mark.root


def ids(found: Diagnosis) -> list[str]:
    return [one.finding.id for one in found.causes]


def ruled_out(found: dict[str, Any]) -> set[str]:
    return {id for one in found["ruled_out"] for id in one["ids"]}


def test_a_program_that_does_not_accept(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=4, mode="never")
    lab.server.listen(8081)
    lab.client.connect(web, 5)
    until(lambda: halfopen.snapshot(lab.server.netns_path).listeners[0].accept_queue == 5)
    written = document("diagnose", "--netns", lab.server.netns_path, "--for", "500ms", "--json")
    assert (written["schema"], written["level"], written["interrupted"]) == ("halfopen.diagnose/1", "critical", False)
    [one] = written["namespaces"]
    assert one["seconds"] == pytest.approx(0.5, abs=5)
    [found] = [finding for finding in one["findings"] if finding["id"] == "app-not-accepting"]
    assert (found["confidence"], found["listener"]["port"]) == ("certain", 8080)
    assert found["listener"]["processes"]
    facts = {fact["name"]: (fact["value"], fact["limit"]) for fact in found["facts"]}
    assert facts["accept_queue"] == (5, 5)
    assert facts["accepted_at_most"] == (0, None)
    assert {"backlog-small", "spoofed-flood", "cookies-off"} <= ruled_out(one)
    # Of the other listener there is nothing to say.
    other = halfopen.diagnose(lab.server.netns_path, seconds=0.2, listener=":8081")
    assert ids(other) == []
    with pytest.raises(UnknownTarget, match="nothing listens on :8082"):
        halfopen.diagnose(lab.server.netns_path, seconds=0.2, listener=":8082")


def test_honest_clients_are_ruled_out_to_be_a_flood_by_what_finishes(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=4096)
    slow = lab.client.slow(web, 900, 0.4, 0.6, rate=200)
    until(lambda: halfopen.snapshot(lab.server.netns_path).half_open >= 60)
    found = halfopen.diagnose(lab.server.netns_path, seconds="1s")
    slow.wait(60)
    assert not [id for id in ids(found) if id != "handshakes-finish"]
    [against] = [one for one in found.ruled_out if "spoofed-flood" in one.ids]
    assert {fact.name: fact.value for fact in against.facts}["completions_per_s"] > 100  # type: ignore[operator]


def test_a_flood_is_certain_once_it_lasts(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=4096)
    lab.client.half_open(web, 300)
    lab.settle(300)
    until(lambda: halfopen.snapshot(lab.server.netns_path).oldest_s > 3.2)
    found = halfopen.diagnose(lab.server.netns_path, seconds=0.5)
    assert ids(found)[0] == "spoofed-flood"
    assert found.causes[0].confidence is Confidence.CERTAIN
    assert {"few-sources-flood", "synacks-lost"} <= {id for one in found.ruled_out for id in one.ids}


def _looks(pid: int) -> bool:
    """Whether the process waits in poll() for its stop event."""
    fds = Path(f"/proc/{pid}/fd")
    try:
        stop = any("eventfd" in os.readlink(fd) for fd in fds.iterdir())
    except FileNotFoundError:  # closed meanwhile
        return False
    return stop and "poll" in Path(f"/proc/{pid}/wchan").read_text()


def test_ctrl_c_ends_it_early_and_shows_what_was_seen(lab: Lab) -> None:
    lab.server.listen(8080)
    words = ("diagnose", "--netns", lab.server.netns_path, "--for", "60s", "--json")
    with begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        # A signal ends the command at once until it looks, and it looks between two readings.
        until(lambda: _looks(running.pid), 30)
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"")
    written = json.loads(out)
    assert written["interrupted"] is True
    assert written["namespaces"][0]["seconds"] < 20


def test_a_terminal_is_told_that_it_looks(lab: Lab) -> None:
    lab.server.listen(8080)
    with terminal("diagnose", "--netns", lab.server.netns_path, "--for", "2500ms") as t:
        assert t.wait() == 0
    assert "looking for causes: 0 s of 2.5 s" in t.text
    assert "Nothing wrong was found" in t.text


@pytest.mark.parametrize("time", ["0s", "2h", "soon"])
def test_a_time_that_is_not_possible(time: str) -> None:
    done = run("diagnose", "--for", time)
    assert "--for" in one_line(done, 2)
