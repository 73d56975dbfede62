"""`halfopen status` as the service answers it shows which incidents are on, and who has acknowledged them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from halfopen.cli.status import command
from halfopen.service import client

INCIDENT = {
    "id": "20261126T045607-3f9c1a",
    "stage": "incident",
    "port": 8080,
    "lasted_s": 12.3,
    "causes": [{"id": "spoofed-flood"}],
    "silences": [{"until": None, "by": "alice", "reason": "ticket 12"}],
}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sees an incident here and another elsewhere."""
    control = tmp_path / "c.sock"
    control.touch()
    monkeypatch.setenv("HALFOPEN_CONTROL", str(control))
    here = {**INCIDENT, "netns": "self", "netns_inode": client.here()}
    other = {**INCIDENT, "id": "other", "netns": "web", "netns_inode": 7, "silences": []}

    def ask(_: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "incidents":
            return {"ok": True, "incidents": [here, other]}
        return {"ok": True, "pid": 5, "exit_code": 0, "output": "{}\n" if request.get("json") else "OK\n", "errors": ""}

    monkeypatch.setattr(client, "ask", ask)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], ["3f9c1a"]),
        (["--netns", "web"], ["other"]),
        (["--netns", f"pid:{os.getpid()}"], ["3f9c1a"]),
        (["--netns", "all"], ["3f9c1a", "other"]),
        (["--json"], []),
    ],
)
def test_the_incidents_of_the_namespace_are_shown(words: list[str], shown: list[str]) -> None:
    lines = CliRunner().invoke(command, words).stdout.splitlines()
    found = [line for line in lines if line.startswith("Incident")]
    assert [any(one in line for line in found) for one in shown] == [True] * len(found)
    if "3f9c1a" in shown:
        assert "incident at :8080 for 12 s: spoofed-flood; acknowledged by alice: ticket 12" in found[0]
