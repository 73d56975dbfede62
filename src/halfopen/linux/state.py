"""The default directories of records: one for state, one for the audit log."""

from __future__ import annotations

import os
from typing import Final

from halfopen.linux.files import is_root

ENVIRONMENT: Final = "HALFOPEN_STATE_DIR"
STATE_OF_ROOT: Final = "/var/lib/halfopen"
LOGS_OF_ROOT: Final = "/var/log/halfopen"
# The service, which runs as a user of its own, writes below the directories of root.
STATE_OF_SERVICE: Final = f"{STATE_OF_ROOT}/service"
LOGS_OF_SERVICE: Final = f"{LOGS_OF_ROOT}/service"


def state_directory() -> str:
    """$HALFOPEN_STATE_DIR, else /var/lib/halfopen for root and ~/.local/state/halfopen for others."""
    return os.environ.get(ENVIRONMENT) or directory(STATE_OF_ROOT)


def directory(of_root: str) -> str:
    """`of_root` for root of a machine or a container; for other users a directory below $XDG_STATE_HOME or
    ~/.local/state.
    """
    if is_root():
        return of_root
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "halfopen")
