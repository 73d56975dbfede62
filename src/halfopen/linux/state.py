"""Where the audit log and the journal are kept unless somebody chooses another place."""

from __future__ import annotations

import os

from halfopen.linux.files import is_root


def directory(of_root: str) -> str:
    """`of_root` for root of a machine or a container; for others below $XDG_STATE_HOME or ~/.local/state."""
    if is_root():
        return of_root
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "halfopen")
