"""What receivers answered to a test message, as lines."""

from __future__ import annotations

from collections.abc import Sequence

from halfopen.core.units import printable, show_time


def tried_line(name: str, kind: str, delivered: bool, answer: str, seconds: float, names: Sequence[str]) -> str:
    """The line of one receiver; names: of all, so that the lines stand below each other."""
    width = max(map(len, names), default=0)
    of_kind = "" if kind == name else f" ({kind})"
    return f"{name:<{width}}  {'ok' if delivered else 'FAILED'}: {printable(answer)}{of_kind}, {show_time(seconds)}"
