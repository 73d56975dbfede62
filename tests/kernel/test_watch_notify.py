"""watch tells receivers: the incident of a real flood, from its first sign to its end, with one id everywhere."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bad_http import BadServer
from peers import until
from run import begin, environment
from run import halfopen as command

if TYPE_CHECKING:
    from halfopen.lab import Lab

PATIENCE_S = 30
CONFIG = """
interval = "100ms"
[alarm]
calm = "500ms"
[[release]]
name = "old"
mode = "act"
older_than = "3s"
spare_clients = "0s"
[[notify]]
kind = "webhook"
url = "{url}/ok/T0KEN"
rising = true
wait = "0s"
[[notify]]
kind = "webhook"
name = "tarpit"
url = "{url}/drip/T0KEN"
timeout = "1s"
[[notify]]
kind = "command"
command = ["/bin/sh", "-c", "cat >> $0; grep CapEff /proc/self/status >> $0", "{hook}"]
"""


def test_a_flood_is_told_from_its_first_sign_to_its_end(
    lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    web = lab.server.listen(8080, backlog=4096)
    config, audit = tmp_path / "watch.toml", tmp_path / "audit.jsonl"
    # Of whatever user tells, who cannot reach pytest's own directory.
    place = tempfile.TemporaryDirectory(prefix="halfopen-hook-")
    request.addfinalizer(place.cleanup)
    hook = Path(place.name) / "hook"
    hook.parent.chmod(0o755)
    hook.write_text("")
    hook.chmod(0o666)
    environ = environment(HALFOPEN_STATE_DIR=str(tmp_path / "state"), HALFOPEN_AUDIT_LOG=str(audit))
    with BadServer() as server:
        config.write_text(CONFIG.format(url=server.url, hook=hook))
        words = ["watch", "--netns", lab.server.netns_path, "--config", str(config), "--json", "--for", "60s"]
        lines = tmp_path / "lines"  # not a pipe: the watch would wait when nobody reads it
        with lines.open("w") as out:
            process = begin(*words, env=environ, stdout=out)
        try:
            until(lambda: lines.read_text().count("\n") >= 2, timeout=PATIENCE_S)
            lab.client.half_open(web, 500)

            def told() -> list[dict[str, Any]]:
                posts = [post for post in server.posts if post.path.startswith("/ok")]
                return [json.loads(post.body)["data"] for post in posts]

            until(lambda: any(one["state"] == "resolved" for one in told()), timeout=PATIENCE_S)
            until(lambda: '"resolved"' in hook.read_text(), timeout=PATIENCE_S)
            # It is tried again, and that it failed is told.
            until(lambda: sum(post.path.startswith("/drip") for post in server.posts) >= 2, timeout=PATIENCE_S)
            until(lambda: "no answer within 1 s" in lines.read_text(), timeout=PATIENCE_S)
        finally:
            process.terminate()
            process.wait(timeout=60)
    events = [json.loads(line) for line in lines.read_text().splitlines()]
    alarm = next(event for event in events if event["event"] == "alarm")
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    notices = told()
    states = [one["state"] for one in notices]
    assert (states[-1], {"firing", "updated"} & set(states)) != ("resolved", set())
    assert {one["incident"] for one in notices} == {alarm["incident"]}
    assert records
    assert any(alarm["incident"] in json.dumps(record) for record in records)
    [action] = notices[-1]["actions"]
    assert action.startswith("released ")
    assert action.endswith("half-open connections older than 3 s, on :8080")
    assert all(one["listener"] == ":8080" for one in notices)
    # The command had everything on its standard input, and no capability.
    given = hook.read_text().splitlines()
    assert {line.split()[1] for line in given if line.startswith("CapEff")} == {"0" * 16}
    # One receiver that drips delayed nobody, and is named without its token.
    troubles = [event["message"] for event in events if event["event"] == "trouble"]
    assert any("tarpit: http://127.0.0.1" in line and "no answer within 1 s" in line for line in troubles)
    assert all("T0KEN" not in line for line in troubles)


def test_notify_test_shows_what_each_receiver_answered(tmp_path: Path) -> None:
    config = tmp_path / "watch.toml"
    with BadServer() as server:
        config.write_text(CONFIG.format(url=server.url, hook=tmp_path / "none" / "hook").replace('"0s"', '"1s"'))
        done = command("notify", "test", "--config", str(config), "webhook", "command")
        assert done.returncode == 1
        ok, failed = done.stdout.splitlines()
        assert ok.startswith("webhook  ok: 200 OK, ")
        assert failed.startswith("command  FAILED: /bin/sh: exit code ")
        assert json.loads(server.posts[0].body)["data"]["test"] is True
        done = command("notify", "test", "--config", str(config), "nobody")
        assert (done.returncode, done.stdout) == (2, "")
        assert "no receiver is called 'nobody'; there are webhook, tarpit, command" in done.stderr
    config.write_text("")
    done = command("notify", "test", "--config", str(config))
    assert done.returncode == 2
    assert "names no receiver" in done.stderr
