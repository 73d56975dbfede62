"""Whether a watch is the service, and where the control socket is. Imports nothing heavy."""

from __future__ import annotations

import os
from typing import Final

from halfopen.linux.well_known import NOTIFY_SOCKET

CONTROL: Final = "HALFOPEN_CONTROL"
MAX_CPU: Final = 0.02
"""The default limit of processor time, as a share of one processor."""
_RUNTIME: Final = "RUNTIME_DIRECTORY"
_DIRECTORY: Final = "/run/halfopen"
_NAME: Final = "control.sock"


def started_by_systemd() -> bool:
    """Whether systemd started this process as a service of Type=notify, or with a runtime directory."""
    return bool(os.environ.get(NOTIFY_SOCKET) or os.environ.get(_RUNTIME))


def control_path() -> str:
    """$HALFOPEN_CONTROL, else control.sock in the service's runtime directory, else /run/halfopen/control.sock."""
    # systemd may name several directories; the first one is the service's own.
    directory = os.environ.get(_RUNTIME, "").partition(":")[0] or _DIRECTORY
    return os.environ.get(CONTROL) or os.path.join(directory, _NAME)
