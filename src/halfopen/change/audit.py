"""The audit log: a JSON line before and after everything that changes the system.

An action that cannot be recorded is not carried out.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import time
from typing import Any, Final

from halfopen.core.errors import HalfopenError
from halfopen.linux import files, small_files, state, systemd

ENVIRONMENT: Final = "HALFOPEN_AUDIT_LOG"
_NAME: Final = "audit.jsonl"
# The commands that take the path as an option, by the action they record.
_OPTION: Final = {"release": "--audit-log PATH or "}
# How long to wait for the lock, which another writer holds while it syncs a line to the disk. If the wait fails, the
# line is appended without the lock (`files.append`).
_WAIT_S: Final = 5.0


def default_path() -> str:
    """$HALFOPEN_AUDIT_LOG, else /var/log/halfopen/audit.jsonl for root and ~/.local/state/halfopen/audit.jsonl for
    others.
    """
    return os.environ.get(ENVIRONMENT) or os.path.join(state.directory(state.LOGS_OF_ROOT), _NAME)


def who() -> dict[str, Any]:
    """The caller: uid, login uid and sudo user where known, pid and command line."""
    person: dict[str, Any] = {"uid": os.getuid(), "pid": os.getpid(), "command": sys.argv}
    if "SUDO_USER" in os.environ:
        person["sudo_user"] = os.environ["SUDO_USER"]
    try:
        login = int(small_files.text("/proc/self/loginuid"))
    except ValueError:
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
        # Arguments of the command line that are not UTF-8 are written as JSON escapes.
        line = json.dumps(stamped, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"
        try:
            self._append(line)
        except (OSError, ValueError, files.Unsafe) as e:
            raise self._problem(e, _OPTION.get(record.get("action", ""), "")) from None
        _to_journal(stamped)

    def check(self) -> None:
        """Check whether the log can be written, without creating or changing anything. Raises: as `write`."""
        try:
            files.check_append(self.path, private=False, devices=True)
        except (OSError, ValueError, files.Unsafe) as e:
            raise self._problem(e, "") from None

    def _problem(self, e: OSError | ValueError | files.Unsafe, option: str) -> HalfopenError:
        elsewhere = f"choose another with {option}{ENVIRONMENT}"
        what, remedy = str(e), elsewhere
        if not isinstance(e, ValueError):
            what, remedy = files.what_and_remedy(e, self.path, elsewhere)
        return HalfopenError("audit", f"the audit log {self.path!r} cannot be written: {what}", hint=remedy)

    def _append(self, line: bytes) -> None:
        directory = os.path.dirname(self.path) or "."
        files.make_directory(directory)
        fd = files.open_to_append(self.path, devices=True)
        try:
            # A device such as /dev/null is shared, and another process may hold its lock forever.
            alone = stat.S_ISREG(os.fstat(fd).st_mode) and files.lock(fd, _WAIT_S)
            # If a crash left the last line incomplete, begin a new one: the record would be unreadable behind it.
            files.append(fd, line if files.ends_in_a_line(fd) else b"\n" + line, alone=alone)
        finally:
            os.close(fd)


def _to_journal(record: dict[str, Any]) -> None:
    """Copy a record to systemd's journal, if there is one. The file is what counts: halfopen does not wait for the
    journal, and ignores its errors.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            s.sendto(_datagram(record), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, systemd.JOURNAL)
    except Exception:
        return


def _datagram(record: dict[str, Any]) -> bytes:
    summary = " ".join(f"{k}={v}" for k, v in record.items() if isinstance(v, str | int | float) and k != "schema")
    fields = {
        "MESSAGE": f"halfopen {summary}".replace("\n", " "),
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "halfopen",
        "HALFOPEN_RECORD": json.dumps(record, separators=(",", ":")),
    }
    return "".join(f"{k}={v}\n" for k, v in fields.items()).encode(errors="backslashreplace")
