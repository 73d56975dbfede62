"""Carries out actions and keeps the record: a line in the audit log before, one after. A dry run is the same without
effect.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import Any

from halfopen.change.audit import AuditLog, who
from halfopen.core.errors import HalfopenError, words
from halfopen.core.model.answered import Calm
from halfopen.core.policy.actions import Release, Released
from halfopen.linux.netns import Netns
from halfopen.ops import signals
from halfopen.ops.release.release import execute


class Executor:
    """Executes actions one at a time. With `dry_run` it changes nothing and records nothing."""

    def __init__(self, audit_log: str | None = None, *, dry_run: bool = False) -> None:
        self.audit = AuditLog(audit_log)
        self.dry_run = dry_run

    def release(
        self,
        action: Release,
        ns: Netns,
        *,
        stop: threading.Event | None = None,
        within_s: float | None = None,
        calm: Calm | None = None,
    ) -> Released:
        """Release, recorded. stop, within_s, calm: as for `execute`.

        Raises: as `execute`, and HalfopenError "audit" before anything is done.
        """
        if self.dry_run:
            return execute(action, ns, dry_run=True, stop=stop, calm=calm)
        stop = stop or threading.Event()
        with signals.held_off(stop):
            return self._recorded(action, ns, stop, within_s, calm)

    def _recorded(
        self, action: Release, ns: Netns, stop: threading.Event, within_s: float | None, calm: Calm | None
    ) -> Released:
        record = {
            "id": uuid.uuid4().hex[:12],
            "action": "release",
            "netns": action.netns,
            "netns_inode": ns.inode,
            "filter": action.filter.describe(),
            "arguments": action.filter.arguments().strip() or "--all",
            "reason": action.reason,
            "who": who(),
        }
        self.audit.write({**record, "phase": "begin"})
        try:
            outcome = execute(action, ns, stop=stop, within_s=within_s, calm=calm)
        except BaseException as e:
            self._failed(record, e)
            raise
        try:
            self.audit.write({**record, "phase": "done", **outcome.as_record()})
        except HalfopenError as e:
            return replace(outcome, problems=(*outcome.problems, e.line()))
        return outcome

    def _failed(self, record: dict[str, Any], error: BaseException) -> None:
        try:
            self.audit.write({**record, "phase": "failed", "error": words(error)})
        except HalfopenError as e:
            if isinstance(error, HalfopenError):
                error.message = f"{error.message} (and {e.message})"
