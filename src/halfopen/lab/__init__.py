"""A lab: private hosts in network namespaces, for trying and testing; none of its packets leaves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfopen.core.errors import LabError
from halfopen.lab.lab import Lab
from halfopen.lab.listener import LabListener
from halfopen.lab.userns import apart, enter_user_namespace, user_namespace_refusal

if TYPE_CHECKING:
    from halfopen.lab.flood import Flood, Sent
    from halfopen.lab.honest import Honest
    from halfopen.lab.slow import Slow

__all__ = [
    "Flood",
    "Honest",
    "Lab",
    "LabError",
    "LabListener",
    "Sent",
    "Slow",
    "apart",
    "enter_user_namespace",
    "user_namespace_refusal",
]

_LAZY = {"Flood": "flood", "Sent": "flood", "Honest": "honest", "Slow": "slow"}


def __getattr__(name: str) -> object:
    # Imported lazily: these modules load numpy, whose threads would make entering a user namespace impossible.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"halfopen.lab.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
