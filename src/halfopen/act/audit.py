"""The audit log: a JSON line before and after everything that changes the system. What cannot be recorded is not
done.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from typing import Any, Final

from halfopen.core.errors import HalfopenError

ENVIRONMENT: Final = "HALFOPEN_AUDIT_LOG"
_ROOT_PATH: Final = "/var/log/halfopen/audit.jsonl"
# Never through a link, and never waiting for somebody to read a pipe.
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_JOURNAL: Final = "/run/systemd/journal/socket"


def default_path() -> str:
    """$HALFOPEN_AUDIT_LOG, else /var/log/halfopen/audit.jsonl for root and ~/.local/state/halfopen/audit.jsonl for
    others.
    """
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return chosen
    if os.geteuid() == 0:
        return _ROOT_PATH
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "halfopen", "audit.jsonl")


def who() -> dict[str, Any]:
    """Who is at it: uid, login uid and sudo user where known, pid and command line."""
    person: dict[str, Any] = {"uid": os.getuid(), "pid": os.getpid(), "command": sys.argv}
    if "SUDO_USER" in os.environ:
        person["sudo_user"] = os.environ["SUDO_USER"]
    try:
        with open("/proc/self/loginuid") as f:
            login = int(f.read())
    except (OSError, ValueError):
        return person
    if login != 2**32 - 1:
        person["login_uid"] = login
    return person


class AuditLog:
    """Appends records to one file, 0600 in a directory 0700, and to the journal when there is one."""

    def __init__(self, path: str | None = None) -> None:
        self.path = default_path() if path is None else path

    def write(self, record: dict[str, Any]) -> None:
        """Append one record and push it to the disk.

        Raises: HalfopenError "audit" when it cannot be written; the caller must then leave the system as it is.
        """
        stamped = {"schema": "halfopen.audit/1", "time": time.time(), **record}
        # A word of the command line that is no UTF-8 stands there as the escape JSON has for it.
        line = json.dumps(stamped, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"
        try:
            directory = os.path.dirname(self.path)
            if directory:
                os.makedirs(directory, mode=0o700, exist_ok=True)
            fd = os.open(self.path, _FLAGS, 0o600)
            try:
                if os.write(fd, line) != len(line):
                    raise OSError(28, os.strerror(28))
                if os.path.isfile(self.path):
                    os.fsync(fd)
            finally:
                os.close(fd)
        except (OSError, ValueError) as e:
            raise HalfopenError(
                "audit",
                f"the audit log {self.path!r} cannot be written: {getattr(e, 'strerror', None) or e}",
                hint=f"choose another with --audit-log PATH or {ENVIRONMENT}",
            ) from None
        _to_journal(stamped)


def _to_journal(record: dict[str, Any]) -> None:
    """Hand a record to systemd's journal where there is one; the file is the record, the journal a courtesy."""
    if not os.path.exists(_JOURNAL):
        return
    summary = " ".join(f"{k}={v}" for k, v in record.items() if isinstance(v, str | int | float) and k != "schema")
    fields = {
        "MESSAGE": f"halfopen {summary}".replace("\n", " "),
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "halfopen",
        "HALFOPEN_RECORD": json.dumps(record, separators=(",", ":")),
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            s.sendto("".join(f"{k}={v}\n" for k, v in fields.items()).encode(errors="backslashreplace"), _JOURNAL)
    except OSError:
        return
