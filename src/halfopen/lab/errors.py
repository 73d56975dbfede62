"""The lab's own error."""

from __future__ import annotations

from halfopen.core.errors import LabError as LabError
