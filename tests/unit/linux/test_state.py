"""One rule for where records are kept: root's directory for root, a directory of the user's for others."""

from __future__ import annotations

import pytest

from halfopen.change import audit
from halfopen.linux import state


def test_root_has_its_own_and_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HALFOPEN_STATE_DIR", "HALFOPEN_AUDIT_LOG", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(state, "is_root", lambda: True)
    assert state.state_directory() == "/var/lib/halfopen"
    assert audit.default_path() == "/var/log/halfopen/audit.jsonl"
    monkeypatch.setattr(state, "is_root", lambda: False)
    monkeypatch.setenv("HOME", "/home/me")
    assert state.state_directory() == "/home/me/.local/state/halfopen"
    assert audit.default_path() == "/home/me/.local/state/halfopen/audit.jsonl"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert (state.directory("/x"), audit.default_path()) == ("/state/halfopen", "/state/halfopen/audit.jsonl")
