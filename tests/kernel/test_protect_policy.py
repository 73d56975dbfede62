"""The policy [protect] of a watch: armed by an incident, honest clients get in, and gone when the incident is over."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from halfopen.read.guards import guards_in
from peers import until
from run import halfopen, one_line
from watching import Watched

if TYPE_CHECKING:
    from halfopen.lab import Lab

pytestmark = pytest.mark.root

PATIENCE_S = 20.0
CONFIG = """
interval = "250ms"
audit_log = "{audit}"
[alarm]
calm = "1s"
[protect]
listeners = [":8080"]
at = "10%"
"""


def configured(tmp_path: Path, more: str) -> Path:
    config = tmp_path / "halfopen.toml"
    config.write_text(CONFIG.format(audit=tmp_path / "audit.jsonl") + more)
    return config


def recorded(tmp_path: Path) -> list[dict[str, Any]]:
    """What the audit log says of guards."""
    records = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    return [one for one in records if one["action"] == "protect"]


def test_a_flood_arms_it_and_it_is_gone_when_the_flood_is_over(lab: Lab, tmp_path: Path) -> None:
    listener = lab.server.listen(8080, backlog=512)
    lab.server.set_sysctl("net.ipv4.tcp_synack_retries", 1)
    with Watched(lab, configured(tmp_path, 'mode = "act"\n')) as watch:
        watch.first("reading")
        flood = lab.client.flood(listener, 3000, 60.0)
        armed = watch.first("guard", ended=None)
        assert armed["guarded"] == [":8080"]
        assert armed["reason"].startswith("policy protect: ")
        (found,) = guards_in(lab.server.inode)
        assert (found.by_policy, round(found.share, 1)) == (True, 0.1)
        until(lambda: guards_in(lab.server.inode)[0].counts.answered > 0, PATIENCE_S)
        assert lab.client.connect(listener, 20, timeout=PATIENCE_S).alive(PATIENCE_S) == 20
        said = one_line(halfopen("protect", "off", "--netns", lab.server.netns_path), 3)
        assert "the policy [protect] of process" in said
        assert "halfopen service mode observe" in said
        flood.stop()
        off = watch.first("guard", ended="stopped")
        assert guards_in(lab.server.inode) == []
        assert off["counts"]["accepted"] > 0
        assert off["counts"]["answered"] > 0
        watch.end()
    began, done = recorded(tmp_path)
    assert (began["phase"], began["policy"], began["reason"]) == ("begin", "protect", armed["reason"])
    assert len(began["incidents"]) == 1
    assert done["notes"] == ["taken off: the incident is over"]


def test_armed_always_it_goes_with_a_reload_and_with_the_process(lab: Lab, tmp_path: Path) -> None:
    listener = lab.server.listen(8080)
    config = configured(tmp_path, 'mode = "act"\nwhen = "always"\n')
    with Watched(lab, config) as watch:
        watch.first("guard", ended=None)
        config.write_text(config.read_text().replace('"act"', '"observe"'))
        watch.process.send_signal(signal.SIGHUP)
        off = watch.first("guard", ended="stopped")
        assert off["notes"] == ["taken off: no policy asks for it any more"]
        assert guards_in(lab.server.inode) == []
        watch.first("withheld", policy="protect", why="observes")
        config.write_text(config.read_text().replace('"observe"', '"act"').replace("10%", "0%"))
        watch.process.send_signal(signal.SIGHUP)
        watch.first("guard", ended=None)
        honest = lab.client.connect(listener, 5, timeout=PATIENCE_S)
        assert guards_in(lab.server.inode)[0].counts.accepted == 5
        watch.process.kill()
        watch.process.communicate()
        until(lambda: not guards_in(lab.server.inode), PATIENCE_S)
        assert honest.alive(PATIENCE_S) == 5


def test_it_leaves_alone_what_is_never_to_be_touched_and_ends_in_order_with_the_watch(lab: Lab, tmp_path: Path) -> None:
    lab.server.listen(8080)
    lab.server.listen(8081)
    more = 'mode = "act"\nwhen = "always"\n[never]\nlisteners = [":8081"]\n'
    config = configured(tmp_path, more)
    config.write_text(config.read_text().replace('[":8080"]', '[":8080", ":8081", ":8082"]', 1))
    with Watched(lab, config) as watch:
        armed = watch.first("guard", ended=None)
        # Nothing listens on :8082 yet.
        assert armed["guarded"] == [":8080"]
        assert armed["notes"] == [":8081 is not guarded: never.listeners of the configuration holds it"]
        *_, off, end = watch.end()
    assert (off["event"], off["ended"], end["event"]) == ("guard", "stopped", "end")
    assert "taken off: the watch ends" in off["notes"]
    assert guards_in(lab.server.inode) == []


def test_one_that_cannot_be_armed_is_told_once(lab: Lab, tmp_path: Path) -> None:
    lab.server.listen(8080)
    lab.server.set_sysctl("net.ipv4.tcp_syncookies", 0)
    with Watched(lab, configured(tmp_path, 'mode = "act"\nwhen = "always"\n')) as watch:
        told = watch.first("trouble")
        assert "tcp_syncookies is 0" in told["message"]
        for _ in range(4):
            watch.first("reading")
        rest = watch.end()
    assert [one for one in rest if one["event"] == "trouble"] == []
    assert [one["phase"] for one in recorded(tmp_path)] == ["begin", "failed"]
