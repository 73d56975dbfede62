"""Makes the receiver of a section [[notify]], of the class that the registry in `core/sections/notify.py` names."""

from __future__ import annotations

import importlib
from typing import cast

from halfopen.core.sections.notify import KINDS, NotifySettings
from halfopen.notify.receiver import Receiver


def receiver(settings: NotifySettings) -> Receiver:
    """The receiver of a section. Raises: HalfopenError if it is not available on this machine."""
    file, _, name = KINDS[settings.kind].made_by.rpartition(".")
    # Imported only if needed: TLS and HTTP, which half of the receivers use, would take most of this process's memory.
    made_by = getattr(importlib.import_module(f"halfopen.notify.{file}"), name)
    return cast("Receiver", made_by(settings))
