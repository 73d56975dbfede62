"""Asking a service that does not run: the command that helps depends on whether it is installed."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.service import client


@pytest.mark.parametrize("unit", [None, "halfopen.service"])
def test_a_service_that_is_not_installed_cannot_be_started(
    unit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_UNITS", (str(tmp_path / "none"), str(tmp_path)))
    if unit is not None:
        (tmp_path / unit).touch()
    said = client.why_not(str(tmp_path / "c.sock"))
    assert said.startswith(f"the halfopen service does not run (nobody listens at {tmp_path}/c.sock); ")
    helps = "sudo halfopen service install installs it" if unit is None else "systemctl start halfopen starts it"
    assert said.endswith(f"; {helps}")


def test_a_service_that_does_nothing_is_waited_for_no_longer_than_for_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is stopped, or whose cgroup is frozen: the kernel takes connections for it."""
    monkeypatch.setattr(client, "_SIGN_OF_LIFE_S", 0.1)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "c.sock"))
        stopped.listen()
        for command in ("status", "health"):
            with pytest.raises(HalfopenError, match="did not answer"):
                client.ask(str(tmp_path / "c.sock"), {"command": command})


def test_one_that_lives_may_take_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_SIGN_OF_LIFE_S", 0.1)
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "c.sock"))
        service.listen()

        def serve() -> None:
            taken, _ = service.accept()
            with taken, taken.makefile("rwb") as lines:
                for line in lines:
                    asked = json.loads(line)["command"]
                    threading.Event().wait(0.0 if asked == "health" else 0.3)
                    lines.write(json.dumps({"command": asked}).encode() + b"\n")
                    lines.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        assert client.ask(str(tmp_path / "c.sock"), {"command": "status"}) == {"command": "status"}
        thread.join()
