"""Ranges of the monitoring-plugin protocol: a value outside of one, or with @ inside, is told.

Source: https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT
"""

from __future__ import annotations

import math
import re
from typing import Final

from msgspec import Struct

from halfopen.core.errors import UsageError

_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_RANGE: Final = re.compile(rf"(?P<at>@?)(?:(?P<start>~|{_NUMBER})?(?P<colon>:))?(?P<end>{_NUMBER})?")
_HINT: Final = "write 10 (more than 10), 10: (less than 10), ~:10, 10:20 or @10:20"


class AlertRange(Struct, frozen=True):
    """From start to end, both included. inside: a value in it is told, else one outside. text: as it was written."""

    start: float
    end: float
    inside: bool
    text: str

    def tells(self, value: float) -> bool:
        """Whether a value is to be told."""
        return (self.start <= value <= self.end) == self.inside


def alert_range(text: str, *, what: str) -> AlertRange:
    """The range that `[@][start:][end]` means: start is 0 where it is left out and minus infinity as `~`, end infinity.

    Raises: UsageError.
    """
    found = _RANGE.fullmatch(text)
    if found is None or not (found["end"] or found["colon"]):
        raise UsageError(f"{what} {text!r} is not a range", hint=_HINT)
    start = -math.inf if found["start"] == "~" else float(found["start"] or 0)
    end = float(found["end"]) if found["end"] else math.inf
    if start > end:
        raise UsageError(f"{what} {text!r} begins above its end", hint=_HINT)
    return AlertRange(start, end, bool(found["at"]), text)
