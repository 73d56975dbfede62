"""The audit log: owner and mode, one line a record, and the journal beside it."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from halfopen.act import audit
from halfopen.core.errors import HalfopenError


def test_records_are_lines_of_json_nobody_else_reads(tmp_path: Path) -> None:
    path = tmp_path / "new" / "audit.jsonl"
    log = audit.AuditLog(str(path))
    log.write({"action": "release", "reason": "two\nlines, ünïcode"})
    log.write({"action": "release"})
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["reason"] == "two\nlines, ünïcode"
    assert first["schema"] == second["schema"] == "halfopen.audit/1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["a link", "a directory", "a full disk", "a pipe nobody reads"])
def test_what_cannot_be_written_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a full disk":
        path = Path("/dev/full")
    else:
        os.mkfifo(path)
    with pytest.raises(HalfopenError, match="cannot be written") as raised:
        audit.AuditLog(str(path)).write({})
    assert raised.value.id == "audit"
    assert not (tmp_path / "elsewhere").exists()


def test_the_journal_gets_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(where)
        journal.settimeout(5)
        monkeypatch.setattr(audit, "_JOURNAL", where)
        audit.AuditLog(str(tmp_path / "audit.jsonl")).write({"action": "release", "reason": "two\nlines"})
        fields = dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())
    assert fields["SYSLOG_IDENTIFIER"] == "halfopen"
    assert json.loads(fields["HALFOPEN_RECORD"])["reason"] == "two\nlines"
    assert "action=release" in fields["MESSAGE"]


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALFOPEN_AUDIT_LOG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert audit.default_path() == "/var/log/halfopen/audit.jsonl"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert audit.default_path() == "/state/halfopen/audit.jsonl"
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", "/elsewhere")
    assert audit.default_path() == "/elsewhere"


def test_who() -> None:
    person = audit.who()
    assert person["uid"] == os.getuid()
    assert person["pid"] == os.getpid()
    assert person["command"]
