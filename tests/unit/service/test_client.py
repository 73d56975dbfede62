"""Asking a service that does not run: the command that helps depends on whether it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

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
