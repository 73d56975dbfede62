"""The lab's own error."""

from __future__ import annotations

from halfopen.core.errors import HalfopenError


class LabError(HalfopenError):
    """The lab could not make, or no longer has, what was asked of it. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("lab", message, hint=hint)
