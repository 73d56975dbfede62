"""The audit log: owner and mode, one line a record, and the journal beside it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from halfopen.change import audit
from halfopen.core.errors import HalfopenError
from halfopen.linux import systemd
from run import environment


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


@pytest.mark.parametrize("kind", ["a link", "a directory", "a full disk", "a pipe", "a hard link", "everybody's"])
def test_what_cannot_be_written_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a full disk":
        path = Path("/dev/full")
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.touch(mode=0o600)
        if kind == "a hard link":
            os.link(path, tmp_path / "other")
        else:
            path.chmod(0o666)
    with pytest.raises(HalfopenError, match="cannot be written") as raised:
        audit.AuditLog(str(path)).write({})
    assert raised.value.id == "audit"
    assert not (tmp_path / "elsewhere").exists()


def test_a_torn_line_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text('{"action":"release","pha')
    path.chmod(0o600)
    log = audit.AuditLog(str(path))
    log.write({"number": 1})
    log.write({"number": 2})
    torn, *lines = path.read_text().splitlines()
    assert torn == '{"action":"release","pha'
    assert [json.loads(line)["number"] for line in lines] == [1, 2]


def test_a_line_that_does_not_fit_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    # As on a full disk, a part of the line is written.
    code = (
        "import resource, sys; from halfopen.change.audit import AuditLog; log = AuditLog(sys.argv[1]); log.write({})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY)); log.write({'long': 'x' * 100})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment(), capture_output=True, text=True, check=False
    )
    assert "cannot be written: File too large" in done.stderr
    audit.AuditLog(str(path)).write({"number": 2})
    assert [json.loads(line).get("number") for line in path.read_text().splitlines()] == [None, 2]


def test_writers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    audit.AuditLog(str(path)).write({"number": 0})
    with open(path) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        writer = threading.Thread(target=audit.AuditLog(str(path)).write, args=({"number": 1},))
        writer.start()
        writer.join(0.3)
        assert len(path.read_text().splitlines()) == 1
        fcntl.flock(holder, fcntl.LOCK_UN)
        writer.join()
        # Somebody who keeps the turn for himself keeps nobody from recording.
        fcntl.flock(holder, fcntl.LOCK_EX)
        monkeypatch.setattr(audit, "_WAIT_S", 0.05)
        audit.AuditLog(str(path)).write({"number": 2})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2]


def fill(sender: socket.socket, where: str) -> None:
    """Send until the queue is full."""
    sender.setblocking(False)
    try:
        while True:
            sender.sendto(b"x", where)
    except BlockingIOError:
        return


def test_a_journal_that_does_not_read_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(tmp_path / "journal")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        journal.bind(where)
        fill(other, where)
        monkeypatch.setattr(systemd, "JOURNAL", where)
        log = audit.AuditLog(str(tmp_path / "audit.jsonl"))
        writer = threading.Thread(target=log.write, args=({"action": "release"},), daemon=True)
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
    assert json.loads((tmp_path / "audit.jsonl").read_text())["action"] == "release"


def test_the_journal_gets_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(where)
        journal.settimeout(5)
        monkeypatch.setattr(systemd, "JOURNAL", where)
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
