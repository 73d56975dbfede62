"""One incident through everything that tells of it, over the death of the service: one id, and one end."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import halfopen
from alertmanagers import alertmanager_in
from bad_http import BadServer
from halfopen.ops.watch.history import earlier
from halfopen.service import client
from peers import until
from run import Begun, begin, environment
from run import halfopen as command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfopen.lab import Lab

pytestmark = pytest.mark.root
PATIENCE_S = 20
CONFIG = """
interval = "200ms"
[alarm]
calm = "500ms"
[history]
path = "{directory}/"
[[notify]]
kind = "webhook"
url = "{url}/ok"
wait = "0s"
[[notify]]
kind = "alertmanager"
url = "{alertmanager}"
wait = "0s"
repeat = "10s"
"""


def test_one_id_in_lines_audit_log_history_webhook_and_alertmanager_over_a_kill(lab: Lab, tmp_path: Path) -> None:
    web = lab.server.listen(8080, backlog=4096)
    config, audit, control = tmp_path / "watch.toml", tmp_path / "audit.jsonl", str(tmp_path / "c.sock")
    environ = environment(
        HALFOPEN_STATE_DIR=str(tmp_path / "state"), HALFOPEN_AUDIT_LOG=str(audit), HALFOPEN_CONTROL=control
    )

    @contextmanager
    def service(number: int) -> Iterator[Begun]:
        words = ["watch", "--as-service", "--netns", lab.server.netns_path, "--config", str(config), "--json"]
        with (tmp_path / f"lines-{number}").open("wb") as out:
            process = begin(*words, env=environ, stdout=out)
            try:
                yield process
            finally:
                process.terminate()
                process.wait(timeout=30)

    def lines(number: int) -> list[dict[str, Any]]:
        text = (tmp_path / f"lines-{number}").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ask(**request: Any) -> dict[str, Any]:
        answer = client.ask(control, request)
        assert answer is not None
        assert answer["ok"], answer
        return answer

    with BadServer() as server, BadServer() as behind, alertmanager_in(tmp_path, behind.url) as alertmanager:
        config.write_text(CONFIG.format(directory=tmp_path / "history", url=server.url, alertmanager=alertmanager.url))

        def told() -> list[dict[str, Any]]:
            return [json.loads(post.body)["data"] for post in server.posts]

        def fires() -> set[str]:
            return {one["annotations"]["incident"] for one in (alertmanager.alerts() or {}).values()}

        with service(1) as first:
            until(lambda: any(one["event"] == "reading" for one in lines(1)), timeout=PATIENCE_S)
            lab.client.half_open(web, 500)
            until(lambda: told() and fires(), timeout=PATIENCE_S)
            [id] = {one["incident"] for one in told()} | fires()
            # A service that is killed loses what it saw in the last two seconds.
            until(lambda: list(earlier(f"{tmp_path / 'history'}/")), timeout=PATIENCE_S)
            first.send_signal(signal.SIGKILL)
            first.wait()
        with service(2):
            until(lambda: any(one["event"] == "resumed" for one in lines(2)), timeout=PATIENCE_S)
            until(lambda: [one["id"] for one in ask(command="incidents")["incidents"]] == [id], timeout=PATIENCE_S)
            acknowledged = ask(command="acknowledge", incident=id[-6:], reason="known", by="alice")
            assert (acknowledged["name"], acknowledged["until"]) == (id, None)
            until(lambda: ask(command="incidents")["incidents"][0]["silences"], timeout=PATIENCE_S)
            shown = command("service", "status", env=environ).stdout
            assert f"Incident  {id}  incident at :8080" in shown
            assert "acknowledged by alice: known" in shown
            halfopen.release(netns=lab.server.netns_path, listener=":8080", audit_log=str(audit))
            until(lambda: not ask(command="incidents")["incidents"], timeout=PATIENCE_S)
            # Who was told of it is told of its end.
            until(lambda: told()[-1]["state"] == "resolved", timeout=PATIENCE_S)
            until(lambda: alertmanager.alerts() == {}, timeout=PATIENCE_S)
            assert ask(command="health")["silences"] == []
    events = [one for number in (1, 2) for one in lines(number) if "incident" in one]
    assert {one["incident"] for one in events} == {one["incident"] for one in told()} == {id}
    assert "alarm" not in {one["event"] for one in lines(2)}
    [record] = [one for one in map(json.loads, audit.read_text().splitlines()) if one["action"] == "silence"]
    assert (record["of"], record["asked_by"], record["reason"], record["phase"]) == (id, "alice", "known", "done")
    kept = json.loads(command("history", "--file", f"{tmp_path / 'history'}/", "--json").stdout)
    [incident] = kept["incidents"]
    assert (incident["id"], incident["peak_half_open"], incident["stage"]) == (id, 500, "quiet")
    assert [(one["by"], one["reason"]) for one in incident["silences"]] == [("alice", "known")]
    replayed = command("history", "replay", id, "--file", f"{tmp_path / 'history'}/", "--json").stdout.splitlines()
    assert {one["event"] for one in map(json.loads, replayed)} >= {"alarm", "reading", "clear"}
