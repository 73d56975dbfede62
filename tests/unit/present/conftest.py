"""For every test of what is shown: proposed commands are those for root, whoever runs the tests."""

from __future__ import annotations

import pytest

from halfopen.present import commands


@pytest.fixture(autouse=True)
def _read_by_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "may_change", lambda: True)
    monkeypatch.setattr(commands, "may_load", lambda: True)
