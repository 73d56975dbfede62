"""Makes the receiver of a section [[notify]]; which class that is, the registry in `core/sections/notify.py` says."""

from __future__ import annotations

import importlib
from typing import cast

from halfopen.core.sections.notify import KINDS, NotifySettings
from halfopen.notify.receiver import Receiver


def receiver(settings: NotifySettings) -> Receiver:
    """The receiver that a section asks for. Raises: HalfopenError where it cannot be had on this machine."""
    file, _, name = KINDS[settings.kind].made_by.rpartition(".")
    # Only what is asked for: TLS and HTTP, which half of them need, are most of what this process would hold.
    made_by = getattr(importlib.import_module(f"halfopen.notify.{file}"), name)
    return cast("Receiver", made_by(settings))
