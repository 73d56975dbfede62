"""Release policies, and a configuration that is read again, of a real watch at its usual interval."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from peers import until
from run import halfopen as command
from watching import Watched

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

FLOOD = """
audit_log = "{audit}"
[never]
listeners = [":8082"]
[[release]]
name = "flood"
mode = "act"
older_than = "1s"
causes = ["spoofed-flood"]
[[release]]
name = "pressure"
older_than = "1s"
fuller_than = "1%"
listeners = [":8080", ":8082"]
"""
ACT = 'mode = "act"\nolder_than = "1s"\n'


def test_a_confirmed_flood_is_released_and_nobody_else_is_touched(lab: Lab, tmp_path: Path) -> None:
    web, other = lab.server.listen(8080, backlog=4096), lab.server.listen(8082, backlog=4096)
    audit, config = tmp_path / "audit.jsonl", tmp_path / "halfopen.toml"
    config.write_text(FLOOD.format(audit=audit))
    honest = lab.client.connect(web, 20)
    with Watched(lab, config) as watch:
        for _ in range(3):
            watch.first("reading")
        lab.client.half_open(other, 100).settled()
        lab.client.half_open(web, 1200, rate=300)
        watched = watch.first("released", policy="flood")
        rest = watch.end()
    assert watched["reason"].startswith("policy flood: spoofed-flood, ")
    assert watched["filter"] == "older than 1 s, on :8080"
    assert watched["released"] >= 100
    assert sum(e["resets"] for e in [watched, *rest] if e["event"] == "released") == 0
    assert honest.alive() == 20
    assert lab.server.half_open(8082) == 100
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    done = [r for r in records if r.get("policy") == "flood" and r["phase"] == "done"]
    assert done[0]["decided_by"]["cause"] == "spoofed-flood"
    assert done[0]["at_most"] >= done[0]["matched"]
    assert done[0]["sparing"] == "never :8082, clients of the last 1h"
    observed = [r for r in records if r.get("policy") == "pressure"]
    # Once for each listener that it covers, and nothing at the one that is never touched.
    assert [(r["phase"], r["why"], r["filter"]) for r in observed] == [
        ("withheld", "observes", "older than 1 s, on :8080")
    ]
    assert observed[0]["decided_by"]["fill"] > 0.01


def test_sources_with_an_established_connection_are_spared(lab: Lab, tmp_path: Path) -> None:
    web, cut = lab.server.listen(8080), lab.server.listen(8081, backlog=1024)
    rule = "add table ip cut; add chain ip cut out { type filter hook output priority 0; };"
    rule += "add rule ip cut out tcp dport 8081 tcp flags & (syn | ack) == ack drop"
    lab.client.exec(["nft", rule])
    lab.client.connect(web, 3)
    # The client's host has these for connected; the server never hears the last ACK.
    lab.client.connect(cut, 10, timeout=1.0)
    lab.client.half_open(cut, 60).settled()
    lab.server.wait_half_open(70)
    audit, config = tmp_path / "audit.jsonl", tmp_path / "halfopen.toml"
    config.write_text(f'interval = "300ms"\naudit_log = "{audit}"\n[[release]]\nname = "old"\n{ACT}')
    with Watched(lab, config) as watch:
        released = watch.first("released", policy="old")
        watch.end()
    assert (released["released"], released["untouched"], released["resets"]) == (60, 10, 0)
    assert lab.server.half_open() == 10


def test_a_release_by_retransmissions_waits_for_the_first_one(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=1024)
    audit, config = tmp_path / "audit.jsonl", tmp_path / "halfopen.toml"
    policy = '[[release]]\nname = "again"\nmode = "act"\nretransmits = 1\nbudget = "40/s"\nspare_clients = "0s"\n'
    config.write_text(f'interval = "300ms"\naudit_log = "{audit}"\n{policy}')
    with Watched(lab, config) as watch:
        watch.first("reading")
        lab.client.half_open(web, 60).settled()
        released = watch.first("released", policy="again")
        # The budget of a second leaves some for the next one.
        more = watch.first("released", policy="again")
        watch.end()
    assert released["filter"] == "with at least 1 retransmits, on :8080"
    assert 0 < released["released"] <= 40
    assert 0 < more["released"] <= 40
    done = [one for line in audit.read_text().splitlines() if (one := json.loads(line))["phase"] == "done"]
    assert {one["policy"] for one in done} == {"again"}
    assert max(one["at_most"] for one in done) == 40


def test_a_program_that_does_not_accept_forbids_a_release(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=5, mode="never")
    lab.client.half_open(web, 2).settled()
    clients = lab.client.connect(web, 8, timeout=1)
    audit, config = tmp_path / "audit.jsonl", tmp_path / "halfopen.toml"
    config.write_text(f'interval = "300ms"\naudit_log = "{audit}"\n[[release]]\nname = "old"\n{ACT}')
    try:
        with Watched(lab, config) as watch:
            said = watch.first("withheld")
            rest = watch.end()
    finally:
        clients.close()
    assert (said["policy"], said["why"], said["detail"]) == ("old", "forbidden", "app-not-accepting")
    assert [e["event"] for e in rest if e["event"] in ("withheld", "released")] == []


def test_a_bad_configuration_changes_nothing_and_a_good_one_is_in_force_at_once(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=1024)
    config = tmp_path / "halfopen.toml"
    config.write_text('interval = "200ms"\n[alarm]\nminimum = 20\n')
    with Watched(lab, config) as watch:
        lab.client.half_open(web, 60).settled()
        alarm = watch.first("alarm")
        config.write_text('interval = "1"\n')
        watch.process.send_signal(signal.SIGHUP)
        trouble = watch.first("trouble")
        assert trouble["netns"] == "reload"
        assert f"{config}:1: interval: " in trouble["message"]
        assert trouble["message"].endswith("the former configuration stays in force")
        assert watch.first("reading")["half_open"] == 60
        config.write_text(
            f'interval = "250ms"\nnetns = "other"\naudit_log = "{tmp_path}/audit.jsonl"\n'
            '[[release]]\nname = "old"\nmode = "act"\nolder_than = "1s"\nspare_clients = "0s"\n[alarm]\nminimum = 20\n'
        )
        watch.process.send_signal(signal.SIGHUP)
        reloaded = watch.first("reload")
        assert reloaded["interval_s"] == 0.25
        assert [one["name"] for one in reloaded["policies"]] == ["old"]
        assert reloaded["after_restart"] == ["netns", "audit_log"]
        assert watch.first("released", policy="old")["released"] == 60
        rest = watch.end()
    # The alarm is the one that began before the reload.
    assert [e["event"] for e in rest if e["event"] in ("alarm", "rising")] == []
    assert alarm["incident"]
    until(lambda: lab.server.half_open() == 0)


def test_a_check_of_the_file_with_policies(tmp_path: Path) -> None:
    config = tmp_path / "halfopen.toml"
    config.write_text(FLOOD.format(audit="/tmp/a"))
    done = command("watch", "--check-config", "--config", str(config))
    assert done.returncode == 0
    assert "Policy flood releases: older than 1 s, during spoofed-flood, at most 5,000/s" in done.stdout
    assert "Policy pressure only observes: older than 1 s, on :8080 or :8082" in done.stdout
